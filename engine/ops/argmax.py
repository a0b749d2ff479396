"""Launches argmax (engine/kernels/argmax.cu, NUMERICS 12)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, int32, require, require_arrivals

PART = 4096  # logits of a work item


def parts(vocab: int) -> int:
    """Work items of a row."""
    return -(-vocab // PART)


def argmax(stream: Stream, logits: Buffer, *, scratch: Buffer, arrivals: Buffer, out: Buffer) -> None:
    """logits (rows, vocab) float32 -> out (rows,) int32: the lowest index of a NaN, or else of the largest value.

    scratch: (rows, parts(vocab)) int64. arrivals: at least (rows,) int32, zero before and after.
    """
    op = "argmax"
    rows, vocab = require(op, "logits", logits, (None, None), np.float32)
    require(op, "out", out, (rows,), np.int32)
    require(op, "scratch", scratch, (rows, parts(vocab)), np.int64)
    require_arrivals(op, arrivals, rows)
    sizes = int32(op, "rows", rows), int32("argmax", "vocab", vocab)
    args = (out, scratch, arrivals, logits, *sizes)
    stream.launch(op, op, grid=blocks(rows * parts(vocab)), block=THREADS, args=args)
