"""Launches rms_norm_matmul_group (engine/kernels/rms_norm_matmul_group.cu, NUMERICS 4, 5, 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import int32, refuse, require
from engine.ops.matmul_group import Product, launch_group, width_of
from engine.ops.quantize import BLOCK, padded


def rms_norm_matmul_group(
    stream: Stream, x: Buffer, weight: Buffer, products: Sequence[Product], *, eps: float
) -> None:
    """x (rows, dim) float32 through rms_norm with weight (dim,) and quantize, then as matmul_group. dim a multiple of 32."""
    op = "rms_norm_matmul_group"
    cols = width_of(op, products)
    rows, dim = require(op, "x", x, (None, cols), np.float32)
    require(op, "weight", weight, (dim,), np.float32)
    if dim % BLOCK:
        raise refuse(op, f"x has {dim} columns, expected a multiple of {BLOCK}")
    sizes = (int32(op, "rows", rows), int32(op, "cols", padded(dim)), int32(op, "dim", dim))
    launch_group(stream, op, (x, weight), products, rows, sizes, (np.float32(eps),))
