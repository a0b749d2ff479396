"""Launches tape and tape_copy (engine/kernels/tape.cu)."""

from __future__ import annotations

import math

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import blocks, int32, refuse, require

BLOCK_THREADS = 1024
COPY_BLOCKS = 256  # at most: a copy walks its bytes with a grid stride
_KERNELS = {np.dtype(np.float32): "tape_f32", np.dtype(np.float16): "tape_f16", np.dtype(np.int8): "tape_i8"}


def tape(
    stream: Stream, values: Buffer, position: Buffer, *, op: int, first: int, hashes: Buffer, notes: Buffer
) -> None:
    """Note the rows of values (rows, ...) of float32, float16 or int8 as those of `op` at position + first onward.

    position (1,) int32; hashes (ops, ring) int64; notes (ops, ring, 3) int32: position, largest magnitude, NaN.
    """
    rows = values.shape[0]
    width = math.prod(values.shape[1:])
    _launch(stream, values, position, op, first, hashes, notes, (rows, 1, width, width, 0, 0))


def tape_cached(
    stream: Stream, cache: Buffer, position: Buffer, *, rows: int, op: int, hashes: Buffer, notes: Buffer
) -> None:
    """The same of the `rows` rows of cache (kv_heads, context, head_dim) that stand at position onward."""
    kv_heads, context, head_dim = require("tape", "cache", cache, (None, None, None), np.float32, np.float16)
    layout = (rows, kv_heads, head_dim, head_dim, context * head_dim, 1)
    _launch(stream, cache, position, op, 0, hashes, notes, layout)


def tape_copy(
    stream: Stream, source: Buffer, position: Buffer, *, wanted: int, first: int, rows: int, mark: int, out: Buffer,
    taken: Buffer,
) -> None:  # fmt: skip
    """Copy the bytes of `source` to out (bytes,) uint8 in a step whose rows include the position `wanted`.

    Row 0 of the step's `rows` stands at position + first. taken (2,) int32 then holds `mark` and the position.
    """
    require("tape_copy", "position", position, (1,), np.int32)
    require("tape_copy", "out", out, (source.nbytes,), np.uint8)
    require("tape_copy", "taken", taken, (2,), np.int32)
    numbers = {"wanted": wanted, "first": first, "rows": rows, "mark": mark}
    counts = [int32("tape_copy", name, number) for name, number in numbers.items()]
    args: tuple[KernelArgument, ...] = (out, taken, source, position, np.int64(source.nbytes), *counts)
    grid = min(COPY_BLOCKS, blocks(source.nbytes, BLOCK_THREADS))
    stream.launch("tape", "tape_copy", grid=grid, block=BLOCK_THREADS, args=args)


def _launch(
    stream: Stream, values: Buffer, position: Buffer, op: int, first: int, hashes: Buffer, notes: Buffer,
    layout: tuple[int, ...],
) -> None:  # fmt: skip
    require("tape", "position", position, (1,), np.int32)
    ops, ring = require("tape", "hashes", hashes, (None, None), np.int64)
    require("tape", "notes", notes, (ops, ring, 3), np.int32)
    if values.dtype not in _KERNELS:
        raise refuse("tape", f"values are {values.dtype}, expected float32, float16 or int8")
    if not (0 <= op < ops and 1 <= layout[0] <= ring):
        raise refuse("tape", f"op {op} of {ops} with {layout[0]} rows, the ring holds {ring}")
    numbers = [int32("tape", "a size", number) for number in (op, ring, first, *layout)]
    args: tuple[KernelArgument, ...] = (hashes, notes, values, position, *numbers)
    stream.launch("tape", _KERNELS[values.dtype], grid=blocks(layout[0]), block=BLOCK_THREADS, args=args)
