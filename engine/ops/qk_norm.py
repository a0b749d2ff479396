"""Launches qk_norm (engine/kernels/qk_norm.cu, NUMERICS 4)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, require


def qk_norm(stream: Stream, x: Buffer, weight: Buffer, *, eps: float, out: Buffer) -> None:
    """x (rows, heads, head_dim), weight (head_dim,) -> out of the shape of x, all float32; out may be x."""
    rows, heads, head_dim = require("qk_norm", "x", x, (None, None, None), np.float32)
    require("qk_norm", "weight", weight, (head_dim,), np.float32)
    require("qk_norm", "out", out, (rows, heads, head_dim), np.float32)
    sizes = (
        int32("qk_norm", "rows", rows), int32("qk_norm", "heads", heads), int32("qk_norm", "head_dim", head_dim),
    )  # fmt: skip
    args = (out, x, weight, *sizes, np.float32(eps))
    stream.launch("qk_norm", "qk_norm", grid=blocks(rows * heads, WARPS), block=THREADS, args=args)
