"""Launches qk_rope_append (engine/kernels/qk_rope_append.cu, NUMERICS 4, 8 and 9)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, refuse, require

LARGEST_HEAD = 256


def qk_rope_append(
    stream: Stream,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    q_weight: Buffer,
    k_weight: Buffer,
    cos: Buffer,
    sin: Buffer,
    position: Buffer,
    *,
    eps: float,
    keys: Buffer,
    values: Buffer,
) -> None:
    """qk_norm and rope of q (rows, heads, head_dim), in place, and of k (rows, kv_heads, head_dim); kv_append.

    k keeps its values. Weights (head_dim,), tables, position and caches as the single operations take them.
    """
    op = "qk_rope_append"
    rows, heads, head_dim = require(op, "q", q, (None, None, None), np.float32)
    _, kv_heads, _ = require(op, "k", k, (rows, None, head_dim), np.float32)
    require(op, "v", v, (rows, kv_heads, head_dim), np.float32)
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        require(op, name, weight, (head_dim,), np.float32)
    positions, pairs = require(op, "cos", cos, (None, None), np.float32)
    require(op, "sin", sin, (positions, pairs), np.float32)
    require(op, "position", position, (1,), np.int32)
    _, context, _ = require(op, "keys", keys, (kv_heads, None, head_dim), np.float32, np.float16)
    require(op, "values", values, (kv_heads, context, head_dim), keys.dtype)
    if not 2 * pairs <= head_dim <= LARGEST_HEAD:
        raise refuse(op, f"head_dim is {head_dim}, expected {2 * pairs} .. {LARGEST_HEAD}")
    sizes = {
        "rows": rows, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "context": context,
        "pairs": pairs, "positions": positions,
    }  # fmt: skip
    counts = [int32(op, name, size) for name, size in sizes.items()]
    kernel = "qk_rope_append_f32" if keys.dtype == np.float32 else "qk_rope_append_f16"
    args: tuple[KernelArgument, ...] = (
        q, keys, values, k, v, q_weight, k_weight, cos, sin, position, *counts, np.float32(eps),
    )  # fmt: skip
    grid = blocks(rows * (heads + 2 * kv_heads), WARPS)
    stream.launch(op, kernel, grid=grid, block=THREADS, args=args)
