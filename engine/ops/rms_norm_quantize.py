"""Launches rms_norm_quantize (engine/kernels/rms_norm_quantize.cu, NUMERICS 4 and 5)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized

BLOCK_THREADS = 1024
BLOCK_SHARED = 3 * 4  # bytes: what a thread block keeps of each 32 values
MANY = 128  # rows; from here on small blocks, many of them on a multiprocessor, bring more rows at a time


def rms_norm_quantize(stream: Stream, x: Buffer, weight: Buffer, *, eps: float, out: Quantized) -> None:
    """x (rows, dim), weight (dim,) float32, dim a multiple of 32 -> out, every pad written as zero."""
    op = "rms_norm_quantize"
    rows, dim = require(op, "x", x, (None, None), np.float32)
    require(op, "weight", weight, (dim,), np.float32)
    if dim % BLOCK:
        raise refuse(op, f"x has {dim} columns, expected a multiple of {BLOCK}")
    width = padded(dim)
    require_quantized(op, out, rows, width)
    sizes = int32(op, "rows", rows), int32(op, "dim", dim), int32(op, "padded", width)
    args = (out.codes, out.scales, out.sums, x, weight, *sizes, np.float32(eps))
    kernel, threads = (f"{op}_many", THREADS) if rows >= MANY else (op, BLOCK_THREADS)
    shared = dim // BLOCK * BLOCK_SHARED
    stream.launch(op, kernel, grid=blocks(rows), block=threads, args=args, shared=shared)
