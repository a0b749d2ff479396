"""Launches rms_norm (engine/kernels/rms_norm.cu, NUMERICS 4)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, int32, require


def rms_norm(stream: Stream, x: Buffer, weight: Buffer, *, eps: float, out: Buffer) -> None:
    """x (rows, dim), weight (dim,) -> out (rows, dim), all float32; out may be x."""
    rows, dim = require("rms_norm", "x", x, (None, None), np.float32)
    require("rms_norm", "weight", weight, (dim,), np.float32)
    require("rms_norm", "out", out, (rows, dim), np.float32)
    sizes = int32("rms_norm", "rows", rows), int32("rms_norm", "dim", dim)
    args = (out, x, weight, *sizes, np.float32(eps))
    stream.launch("rms_norm", "rms_norm", grid=blocks(rows), block=THREADS, args=args)
