"""Launches embedding (engine/kernels/embedding.cu, NUMERICS 3)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, blocks, int32, require
from engine.weights import Weight

ITEM_COLS = 2048  # columns of a work item, which is one row


def embedding(stream: Stream, tokens: Buffer, table: Weight, *, out: Buffer) -> None:
    """tokens (rows,) int32, table (vocab, dim) of any weight type -> out (rows, dim) float32.

    The caller checks the ids; the kernel writes a row of NaN for one outside the table.
    """
    (rows,) = require("embedding", "tokens", tokens, (None,), np.int32)
    shape = table.layout.shape(table.rows, table.cols)
    require("embedding", f"table {table.name}", table.buffer, shape, np.uint8)
    require("embedding", "out", out, (rows, table.cols), np.float32)
    items = rows * -(-table.cols // ITEM_COLS)
    sizes = (
        int32("embedding", "rows", rows),
        int32("embedding", "vocab", table.rows),
        int32("embedding", "dim", table.cols),
    )
    args = (out, tokens, table.buffer, *sizes)
    kernel = f"embedding_{table.type.lower()}"
    stream.launch("embedding", kernel, grid=blocks(items), block=THREADS, args=args)
