"""Launches add (engine/kernels/add.cu, NUMERICS 7)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, int32, require

SPAN = 1024  # values of a row per work item, as in the kernel


def add(stream: Stream, x: Buffer, y: Buffer, *, out: Buffer) -> None:
    """x (rows, dim), y (rows, dim) or (dim,) -> out (rows, dim), all float32; out may be x or, of the same shape, y."""
    rows, dim = require("add", "x", x, (None, None), np.float32)
    whole = len(y.shape) == 2
    require("add", "y", y, (rows, dim) if whole else (dim,), np.float32)
    require("add", "out", out, (rows, dim), np.float32)
    sizes = int32("add", "rows", rows), int32("add", "dim", dim), int32("add", "y_stride", dim if whole else 0)
    stream.launch("add", "add", grid=blocks(rows * -(-dim // SPAN)), block=THREADS, args=(out, x, y, *sizes))
