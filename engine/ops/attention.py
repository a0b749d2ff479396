"""Launches attention (engine/kernels/attention.cu, NUMERICS 10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import THREADS, blocks, int32, refuse, require

SPLIT = 256  # keys of a split
SPLIT_ROWS = 16  # a step of more rows takes the variant "prefill"
LARGEST_HEAD = 256

Variant = Literal["auto", "split", "prefill"]


class Named(Protocol):
    """Buffers by name, such as an arena."""

    def __getitem__(self, name: str, /) -> Buffer: ...


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """What the splits of one step leave to be combined. All float32, no larger than attention_scratch says."""

    o: Buffer  # (rows, heads, splits, head_dim)
    m: Buffer  # (rows, heads, splits)
    l: Buffer  # (rows, heads, splits)

    @classmethod
    def from_arena(cls, arena: Named) -> Scratch:
        """The buffers that were planned under the names of attention_scratch."""
        return cls(o=arena["attention_o"], m=arena["attention_m"], l=arena["attention_l"])


def attention_scratch(rows: int, heads: int, head_dim: int, context: int) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the float32 buffers that steps of up to `rows` rows need, by name."""
    partials = (min(rows, SPLIT_ROWS), heads, splits(context))
    return {"attention_o": (*partials, head_dim), "attention_m": partials, "attention_l": partials}


def splits(context: int) -> int:
    """Splits of a cache of `context` positions, the last one perhaps shorter."""
    return -(-context // SPLIT)


def attention(
    stream: Stream,
    q: Buffer,
    keys: Buffer,
    values: Buffer,
    position: Buffer,
    *,
    scale: np.float32,
    scratch: Scratch,
    out: Buffer,
    variant: Variant = "auto",
) -> None:
    """q (rows, heads, head_dim) over keys and values (kv_heads, context, head_dim) -> out (rows, heads * head_dim).

    q and out are float32, the caches float32 or float16, position is (1,) int32: row r sees the keys 0 .. position + r.
    `variant` chooses the way: "split" spreads the splits of a few rows over the device and needs room in `scratch`,
    "prefill" works on tiles of rows; "auto" takes "split" for up to SPLIT_ROWS rows. All give the same bits.
    """
    rows, heads, head_dim = require("attention", "q", q, (None, None, None), np.float32)
    kv_heads, context, _ = require("attention", "keys", keys, (None, None, head_dim), np.float32, np.float16)
    require("attention", "values", values, (kv_heads, context, head_dim), keys.dtype)
    require("attention", "position", position, (1,), np.int32)
    require("attention", "out", out, (rows, heads * head_dim), np.float32)
    if heads % kv_heads:
        raise refuse("attention", f"{heads} heads over {kv_heads} key heads, expected a multiple")
    if head_dim % 2 or head_dim > LARGEST_HEAD:
        raise refuse("attention", f"head_dim is {head_dim}, expected an even number up to {LARGEST_HEAD}")
    sizes = (
        int32("attention", "rows", rows), int32("attention", "heads", heads), int32("attention", "kv_heads", kv_heads),
        int32("attention", "head_dim", head_dim), int32("attention", "context", context), np.float32(scale),
    )  # fmt: skip
    inputs = (q, keys, values, position, *sizes)
    kind = "f32" if keys.dtype == np.float32 else "f16"
    if variant == "prefill" or (variant == "auto" and rows > SPLIT_ROWS):
        _prefill(stream, kind, out, inputs, queries=rows * (heads // kv_heads), kv_heads=kv_heads, head_dim=head_dim)
    else:
        _split(stream, kind, out, inputs, scratch, (rows, heads, kv_heads, head_dim, context))


def _prefill(
    stream: Stream, kind: str, out: Buffer, inputs: tuple[KernelArgument, ...], *, queries: int, kv_heads: int, head_dim: int
) -> None:
    kernel = f"attention_prefill_{kind}_{128 if head_dim <= 128 else 256}"
    grid = blocks(kv_heads * -(-queries // 32))
    stream.launch("attention", kernel, grid=grid, block=THREADS, args=(out, *inputs))


def _split(
    stream: Stream,
    kind: str,
    out: Buffer,
    inputs: tuple[KernelArgument, ...],
    scratch: Scratch,
    sizes: tuple[int, int, int, int, int],
) -> None:
    rows, heads, kv_heads, head_dim, context = sizes
    partials = rows * heads * splits(context)
    for name, buffer, needed in (("o", scratch.o, partials * head_dim), ("m", scratch.m, partials), ("l", scratch.l, partials)):
        if buffer.dtype != np.float32 or buffer.nbytes < 4 * needed:
            raise refuse("attention", f"scratch {name} is {buffer.dtype} {buffer.shape}, expected {needed} values of float32")
    queries = rows * (heads // kv_heads)
    tile = 4 if queries <= 4 else 8
    parts = (scratch.o, scratch.m, scratch.l)
    grid = blocks(kv_heads * splits(context) * -(-queries // tile))
    stream.launch("attention", f"attention_split_{kind}_{tile}", grid=grid, block=288, args=(*parts, *inputs))
    position = inputs[3]
    counts = (int32("attention", "rows", rows), inputs[5], inputs[7], inputs[8])
    block = -(-head_dim // 32) * 32
    stream.launch(
        "attention", "attention_combine", grid=blocks(rows * heads), block=block, args=(out, *parts, position, *counts)
    )
