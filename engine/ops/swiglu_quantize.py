"""Launches swiglu_quantize (engine/kernels/swiglu_quantize.cu, NUMERICS 11 and 5)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, int32, refuse, require
from engine.ops.quantize import BLOCK, CHUNK, Quantized, chunk_grid, padded, require_quantized

AHEAD = 2  # chunks that a warp has on their way, as in the kernel


def swiglu_quantize(stream: Stream, gate: Buffer, up: Buffer, *, out: Quantized) -> None:
    """gate, up (rows, ff) float32, ff a multiple of 32 -> out, every pad written as zero."""
    op = "swiglu_quantize"
    rows, ff = require(op, "gate", gate, (None, None), np.float32)
    require(op, "up", up, (rows, ff), np.float32)
    if ff % BLOCK:
        raise refuse(op, f"gate has {ff} columns, expected a multiple of {BLOCK}")
    width = padded(ff)
    require_quantized(op, out, rows, width)
    sizes = int32(op, "rows", rows), int32(op, "ff", ff), int32(op, "padded", width)
    args = (out.codes, out.scales, out.sums, gate, up, *sizes)
    grid = chunk_grid(rows * (width // CHUNK), AHEAD)
    stream.launch(op, op, grid=grid, block=THREADS, args=args)
