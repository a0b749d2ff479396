"""Launches swiglu (engine/kernels/swiglu.cu, NUMERICS 11)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, require

SPAN = 1024  # values per work item, as in the kernel


def swiglu(stream: Stream, gate: Buffer, up: Buffer, *, out: Buffer) -> None:
    """gate, up (rows, ff) -> out (rows, ff), all float32; out may be gate or up."""
    rows, ff = require("swiglu", "gate", gate, (None, None), np.float32)
    require("swiglu", "up", up, (rows, ff), np.float32)
    require("swiglu", "out", out, (rows, ff), np.float32)
    count = rows * ff
    stream.launch("swiglu", "swiglu", grid=blocks(count, SPAN), block=THREADS, args=(out, gate, up, np.int64(count)))
