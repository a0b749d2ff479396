"""Launches attention (engine/kernels/attention.cu, NUMERICS 10 and 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import blocks, int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized

SPLIT = 256  # keys of a split
SPLIT_ROWS = 16  # a step of more rows takes the variant "prefill"
LARGEST_HEAD = 256
PREFILL_TILE = 64  # queries of a block
PREFILL_THREADS = 128
PREFILL_SHARED = 75776  # bytes: PrefillShared in engine/kernels/attention_prefill_tile.cuh
SPLIT_THREADS = 288  # a thread per key of a split, and a warp that adds up

Variant = Literal["auto", "split", "prefill"]


class Named(Protocol):
    """Buffers by name, such as an arena."""

    def __getitem__(self, name: str, /) -> Buffer: ...


@dataclass(frozen=True, kw_only=True)
class Scratch:
    """What the splits of one step leave to be combined: o, m and l of NUMERICS 10. All float32."""

    outputs: Buffer  # (rows, heads, splits, head_dim), or larger
    maxima: Buffer  # (rows, heads, splits)
    sums: Buffer  # (rows, heads, splits)

    @property
    def parts(self) -> tuple[Buffer, Buffer, Buffer]:
        return self.outputs, self.maxima, self.sums

    def require_room(self, op: str, partials: int, head_dim: int) -> None:
        """Raises LaunchError unless `partials` splits of queries find room."""
        for name, buffer, count in (
            ("split_outputs", self.outputs, partials * head_dim),
            ("split_maxima", self.maxima, partials),
            ("split_sums", self.sums, partials),
        ):
            if buffer.dtype != np.float32 or buffer.nbytes < 4 * count:
                found = f"{name} is {buffer.dtype} {buffer.shape}"
                raise refuse(op, f"{found}, expected at least {count} float32 values")

    @classmethod
    def from_arena(cls, arena: Named) -> Scratch:
        """The buffers that were planned under the names of attention_scratch."""
        return cls(outputs=arena["split_outputs"], maxima=arena["split_maxima"], sums=arena["split_sums"])


def attention_scratch(rows: int, heads: int, head_dim: int, context: int) -> Mapping[str, tuple[int, ...]]:
    """Shapes of the float32 buffers that steps of up to `rows` rows need, by name."""
    partials = (min(rows, SPLIT_ROWS), heads, splits(context))
    return {"split_outputs": (*partials, head_dim), "split_maxima": partials, "split_sums": partials}


def splits(context: int) -> int:
    """Splits of a cache of `context` positions, the last one perhaps shorter."""
    return -(-context // SPLIT)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One checked call."""

    kind: str  # "f32" or "f16"
    rows: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    q: Buffer
    keys: Buffer
    values: Buffer
    position: Buffer
    scale: np.float32

    @property
    def queries(self) -> int:
        """Queries that read one key head: a query is one head of one row."""
        return self.rows * (self.heads // self.kv_heads)

    def combined(self) -> tuple[KernelArgument, ...]:
        """The sizes that the end of the split way takes."""
        return np.int32(self.rows), np.int32(self.heads), np.int32(self.head_dim), np.int32(self.context)

    def inputs(self) -> tuple[KernelArgument, ...]:
        sizes = {"rows": self.rows, "heads": self.heads, "kv_heads": self.kv_heads, "head_dim": self.head_dim}
        counts = [int32("attention", name, size) for name, size in (*sizes.items(), ("context", self.context))]
        return (self.q, self.keys, self.values, self.position, *counts, np.float32(self.scale))


def attention(
    stream: Stream,
    q: Buffer,
    keys: Buffer,
    values: Buffer,
    position: Buffer,
    *,
    scale: np.float32,
    scratch: Scratch,
    out: Buffer | Quantized,
    variant: Variant = "auto",
) -> None:
    """q (rows, heads, head_dim) over keys and values (kv_heads, context, head_dim) -> out (rows, heads * head_dim).

    The 8-bit form, if `out` is that, is for steps that `quantizes` takes, and not by "prefill".
    q and out are float32, the caches float32 or float16, position is (1,) int32: row r sees the keys 0 .. position + r.
    `variant` chooses the way: "split" spreads the splits of a few rows over the device and needs room in `scratch`,
    "prefill" works on tiles of rows; "auto" takes "split" for up to SPLIT_ROWS rows. All give the same bits.
    """
    step = _checked(q, keys, values, position, scale)
    prefill = variant == "prefill" or (variant == "auto" and step.rows > SPLIT_ROWS)
    if isinstance(out, Quantized):
        if prefill or not quantizes(step.rows, step.head_dim):
            raise refuse("attention", f"no 8-bit form of {step.rows} rows of heads of {step.head_dim} values")
        _split(stream, step, scratch)
        _combine_quantize(stream, step, scratch, out)
        return
    require("attention", "out", out, (step.rows, step.heads * step.head_dim), np.float32)
    if prefill:
        _prefill(stream, step, out)
    else:
        _split(stream, step, scratch)
        _combine(stream, step, scratch, out)


def quantizes(rows: int, head_dim: int) -> bool:
    """Whether a step of so many rows, with heads of this width, can leave its 8-bit form."""
    return rows <= SPLIT_ROWS and head_dim % BLOCK == 0


def _checked(q: Buffer, keys: Buffer, values: Buffer, position: Buffer, scale: np.float32) -> Step:
    """The sizes of a call; raises LaunchError where they do not fit."""
    rows, heads, head_dim = require("attention", "q", q, (None, None, None), np.float32)
    kv_heads, context, _ = require("attention", "keys", keys, (None, None, head_dim), np.float32, np.float16)
    require("attention", "values", values, (kv_heads, context, head_dim), keys.dtype)
    require("attention", "position", position, (1,), np.int32)
    if heads % kv_heads:
        raise refuse("attention", f"{heads} heads over {kv_heads} key heads, expected a multiple")
    if head_dim % 2 or head_dim > LARGEST_HEAD:
        raise refuse("attention", f"head_dim is {head_dim}, expected an even number up to {LARGEST_HEAD}")
    return Step(
        kind="f32" if keys.dtype == np.float32 else "f16",
        rows=rows, heads=heads, kv_heads=kv_heads, head_dim=head_dim, context=context,
        q=q, keys=keys, values=values, position=position, scale=scale,
    )  # fmt: skip


def _prefill(stream: Stream, step: Step, out: Buffer) -> None:
    kernel = f"attention_prefill_{step.kind}_{128 if step.head_dim <= 128 else 256}"
    if (step.kind, step.head_dim) == ("f16", 128):
        kernel += "_whole"
    grid = blocks(step.kv_heads * -(-step.queries // PREFILL_TILE))
    args = (out, *step.inputs(), np.int32(stream.device.multiprocessors))
    stream.launch("attention", kernel, grid=grid, block=PREFILL_THREADS, args=args, shared=PREFILL_SHARED)


def _split(stream: Stream, step: Step, scratch: Scratch) -> None:
    scratch.require_room("attention", step.rows * step.heads * splits(step.context), step.head_dim)
    # A multiprocessor holds one block; more of them would come and go for the splits that no query sees yet.
    items = blocks(step.kv_heads * splits(step.context) * step.queries)  # of one query, at least
    grid = min(items, stream.device.multiprocessors)
    kernel = f"attention_split_{step.kind}"
    stream.launch("attention", kernel, grid=grid, block=SPLIT_THREADS, args=(*scratch.parts, *step.inputs()))


def _combine(stream: Stream, step: Step, scratch: Scratch, out: Buffer) -> None:
    block = -(-step.head_dim // 32) * 32  # a thread per value of a head
    args = (out, *scratch.parts, step.position, *step.combined())
    stream.launch("attention", "attention_combine", grid=blocks(step.rows * step.heads), block=block, args=args)


def _combine_quantize(stream: Stream, step: Step, scratch: Scratch, out: Quantized) -> None:
    width = padded(step.heads * step.head_dim)
    require_quantized("attention", out, step.rows, width)
    sizes = (*step.combined(), int32("attention", "padded", width))
    args = (out.codes, out.scales, out.sums, *scratch.parts, step.position, *sizes)
    grid = blocks(step.rows * step.heads)
    stream.launch("attention", "attention_combine_quantize", grid=grid, block=step.head_dim, args=args)
