"""Launches advance (engine/kernels/advance.cu)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import int32, require


def advance(
    stream: Stream, next_token: Buffer, *, token: Buffer, position: Buffer, tokens_out: Buffer, count: Buffer
) -> None:
    """Hand next_token (1,) on: token[0] is it, tokens_out[count] notes it, position and count move on by one.

    token and tokens_out are (any,), position and count (1,), all int32. A full tokens_out keeps what it holds.
    """
    require("advance", "next_token", next_token, (1,), np.int32)
    require("advance", "token", token, (None,), np.int32)
    require("advance", "position", position, (1,), np.int32)
    (capacity,) = require("advance", "tokens_out", tokens_out, (None,), np.int32)
    require("advance", "count", count, (1,), np.int32)
    args = (token, position, tokens_out, count, next_token, int32("advance", "capacity", capacity))
    stream.launch("advance", "advance", grid=1, block=32, args=args)
