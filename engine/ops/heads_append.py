"""Launches heads_append (engine/kernels/heads_append.cu, NUMERICS 4, 8 and 9)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, refuse, require

OP = "heads_append"
WIDEST = (128, 256)  # that each of the kernels takes: a narrow head needs fewer registers
LARGEST_HEAD = WIDEST[-1]


def takes_heads(head_dim: int) -> bool:
    """Whether there is a kernel for heads of this width."""
    return head_dim <= LARGEST_HEAD


def heads_append(
    stream: Stream,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    cos: Buffer,
    sin: Buffer,
    position: Buffer,
    *,
    q_weight: Buffer,
    k_weight: Buffer,
    eps: float,
    keys: Buffer,
    values: Buffer,
) -> None:
    """qk_norm and rope of q (rows, heads, head_dim), in place, and of k (rows, kv_heads, head_dim), then kv_append.

    Weights (head_dim,), tables (positions, pairs) for at least the caches' context; position and caches as kv_append
    takes them. k and v are only read. A row past the capacity is left alone; sessions refuse such a step before.
    """
    rows, heads, head_dim = require(OP, "q", q, (None, None, None), np.float32)
    _, kv_heads, _ = require(OP, "k", k, (rows, None, head_dim), np.float32)
    require(OP, "v", v, (rows, kv_heads, head_dim), np.float32)
    if not takes_heads(head_dim):
        raise refuse(OP, f"head_dim is {head_dim}, expected up to {LARGEST_HEAD}")
    for name, weight in (("q_weight", q_weight), ("k_weight", k_weight)):
        require(OP, name, weight, (head_dim,), np.float32)
    _, context, _ = require(OP, "keys", keys, (kv_heads, None, head_dim), np.float32, np.float16)
    require(OP, "values", values, (kv_heads, context, head_dim), keys.dtype)
    positions, pairs = require(OP, "cos", cos, (None, None), np.float32)
    require(OP, "sin", sin, (positions, pairs), np.float32)
    require(OP, "position", position, (1,), np.int32)
    if positions < context or 2 * pairs > head_dim:
        raise refuse(OP, f"tables of {positions} positions and {pairs} pairs for {context} keys of {head_dim} values")
    sizes = {
        "rows": rows, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "context": context, "pairs": pairs,
    }  # fmt: skip
    counts = [int32(OP, name, size) for name, size in sizes.items()]
    args: tuple[KernelArgument, ...] = (
        q, keys, values, k, v, q_weight, k_weight, cos, sin, position, *counts, np.float32(eps),
    )  # fmt: skip
    widest = next(width for width in WIDEST if head_dim <= width)
    kernel = f"{OP}_{'f32' if keys.dtype == np.float32 else 'f16'}_{widest}"
    stream.launch(OP, kernel, grid=blocks(rows * (heads + 2 * kv_heads), WARPS), block=THREADS, args=args)
