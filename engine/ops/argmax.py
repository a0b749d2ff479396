"""Launches argmax (engine/kernels/argmax.cu, NUMERICS 12)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import blocks, int32, require

THREADS = 1024  # one block reads a whole row


def argmax(stream: Stream, logits: Buffer, *, out: Buffer) -> None:
    """logits (rows, vocab) float32 -> out (rows,) int32: the lowest index of a NaN, or else of the largest value."""
    rows, vocab = require("argmax", "logits", logits, (None, None), np.float32)
    require("argmax", "out", out, (rows,), np.int32)
    sizes = int32("argmax", "rows", rows), int32("argmax", "vocab", vocab)
    stream.launch("argmax", "argmax", grid=blocks(rows), block=THREADS, args=(out, logits, *sizes))
