"""Launches kv_append (engine/kernels/kv_append.cu, NUMERICS 9)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, require


def kv_append(stream: Stream, k: Buffer, v: Buffer, position: Buffer, *, keys: Buffer, values: Buffer) -> None:
    """k, v (rows, kv_heads, head_dim) float32 -> keys, values (kv_heads, context, head_dim) at position + row.

    The caches are float32 or float16, position is (1,) int32. A row past the capacity is not written; sessions refuse
    such a step before it starts.
    """
    rows, kv_heads, head_dim = require("kv_append", "k", k, (None, None, None), np.float32)
    require("kv_append", "v", v, (rows, kv_heads, head_dim), np.float32)
    require("kv_append", "position", position, (1,), np.int32)
    _, context, _ = require("kv_append", "keys", keys, (kv_heads, None, head_dim), np.float32, np.float16)
    require("kv_append", "values", values, (kv_heads, context, head_dim), keys.dtype)
    sizes = (
        int32("kv_append", "rows", rows), int32("kv_append", "kv_heads", kv_heads),
        int32("kv_append", "head_dim", head_dim), int32("kv_append", "context", context),
    )  # fmt: skip
    kernel = "kv_append_f32" if keys.dtype == np.float32 else "kv_append_f16"
    args = (keys, values, k, v, position, *sizes)
    stream.launch("kv_append", kernel, grid=blocks(rows * kv_heads, WARPS), block=THREADS, args=args)
