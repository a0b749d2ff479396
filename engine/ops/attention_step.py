"""Launches attention_step (engine/kernels/attention_step.cu, NUMERICS 4, 8, 9, 10 and 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.attention import Scratch, splits
from engine.ops.checks import THREADS, blocks, int32, refuse, require, require_arrivals
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized

OP = "attention_step"
LARGEST_HEAD = 256
TILE = 4  # queries of an item, at most
RESIDENT = 2  # blocks that a multiprocessor holds at once
# Up to so many splits for each multiprocessor a block asks for most of the shared memory, needed or not, so that none
# of the next launch, which asks for its weights at once, starts beside it: its own loads, few and small, would have to
# wait behind those. With more of them two blocks of this launch are worth more. On an H200, a token of qwen3-8b: 2,176
# against 2,311 us behind 3,968 others (1.03 splits), 2,667 against 2,461 behind 8,200 (2.0).
ALONE = 1.25
SHARED, STAGE = 15520, 16384  # bytes of StepShared, and of a stage behind it
RING, WHOLE = 5, 8  # stages: of a ring, or so many that a split of 128 float16 a row lies there as a whole


@dataclass(frozen=True, kw_only=True)
class NewHeads:
    """What the products of a step of one row left, all float32; only read."""

    q: Buffer  # (1, heads, head_dim)
    k: Buffer  # (1, kv_heads, head_dim)
    v: Buffer
    q_weight: Buffer  # (head_dim,), of qk_norm
    k_weight: Buffer

    def sizes(self) -> tuple[int, int, int]:
        """heads, kv_heads, head_dim. Raises LaunchError where they do not fit."""
        _, heads, head_dim = require(OP, "q", self.q, (1, None, None), np.float32)
        _, kv_heads, _ = require(OP, "k", self.k, (1, None, head_dim), np.float32)
        require(OP, "v", self.v, (1, kv_heads, head_dim), np.float32)
        for name, weight in (("q_weight", self.q_weight), ("k_weight", self.k_weight)):
            require(OP, name, weight, (head_dim,), np.float32)
        if heads % kv_heads:
            raise refuse(OP, f"{heads} heads over {kv_heads} key heads, expected a multiple")
        if not takes_heads(head_dim):
            raise refuse(OP, f"head_dim is {head_dim}, expected a multiple of {BLOCK} up to {LARGEST_HEAD}")
        return heads, kv_heads, head_dim


def takes_heads(head_dim: int) -> bool:
    """Whether there is a kernel for heads of this width."""
    return head_dim % BLOCK == 0 and head_dim <= LARGEST_HEAD


def attention_step(
    stream: Stream,
    new: NewHeads,
    cos: Buffer,
    sin: Buffer,
    position: Buffer,
    *,
    eps: float,
    scale: np.float32,
    keys: Buffer,
    values: Buffer,
    scratch: Scratch,
    arrivals: Buffer,
    out: Buffer | Quantized,
) -> None:
    """qk_norm, rope, kv_append and attention of one row; then quantize if `out` is the 8-bit form.

    Tables (positions, pairs) for at least the caches' context; position, caches and scratch as the single operations
    take them. `arrivals`, at least (heads,) int32, is zero before and after. out: (1, heads * head_dim).
    """
    heads, kv_heads, head_dim = new.sizes()
    _, context, _ = require(OP, "keys", keys, (kv_heads, None, head_dim), np.float32, np.float16)
    require(OP, "values", values, (kv_heads, context, head_dim), keys.dtype)
    positions, pairs = require(OP, "cos", cos, (None, None), np.float32)
    require(OP, "sin", sin, (positions, pairs), np.float32)
    require(OP, "position", position, (1,), np.int32)
    if positions < context or 2 * pairs > head_dim:
        raise refuse(OP, f"tables of {positions} positions and {pairs} pairs for {context} keys of {head_dim} values")
    require_arrivals(OP, arrivals, heads)
    scratch.require_room(OP, heads * splits(context), head_dim)
    width = padded(heads * head_dim)
    results = _results(out, heads * head_dim, width)
    group = heads // kv_heads
    sizes = {
        "heads": heads, "kv_heads": kv_heads, "group": group, "head_dim": head_dim, "context": context, "pairs": pairs,
        "padded": width,
    }  # fmt: skip
    counts = [int32(OP, name, size) for name, size in sizes.items()]
    narrow = stream.device.multiprocessors
    args: tuple[KernelArgument, ...] = (
        *results, keys, values, *scratch.parts, arrivals, new.q, new.k, new.v, new.q_weight, new.k_weight, cos, sin,
        position, *counts, np.float32(eps), np.float32(scale), np.int32(narrow),
    )  # fmt: skip
    tiles = kv_heads * -(-group // TILE)
    items = max(tiles * splits(context), min(heads * splits(context), narrow))
    kind = f"{'f32' if keys.dtype == np.float32 else 'f16'}_{128 if head_dim <= 128 else 256}"
    most, shared, limit = RESIDENT * narrow, SHARED + RING * STAGE, stream.device.shared_limit
    if tiles * splits(context) <= ALONE * narrow:
        most, shared = narrow, max(shared, limit * 3 // 4)
        if kind == "f16_128" and limit >= SHARED + WHOLE * STAGE:
            kind, shared = "f16_128_whole", max(shared, SHARED + WHOLE * STAGE)
    grid = blocks(min(items, most))
    stream.launch(OP, f"{OP}_{kind}", grid=grid, block=THREADS, args=args, shared=shared)


def _results(out: Buffer | Quantized, cols: int, width: int) -> tuple[Buffer | None, ...]:
    if isinstance(out, Quantized):
        require_quantized(OP, out, 1, width)
        return None, out.codes, out.scales, out.sums
    require(OP, "out", out, (1, cols), np.float32)
    return out, None, None, None
