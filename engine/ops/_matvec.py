"""Geometry of the matvec skeleton (engine/kernels/matvec.cuh): what its launchers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.device import Stream
from engine.ops.checks import blocks, int32
from engine.weights.tiles import PIECE_BYTES, TILES

THREADS, WARPS = 256, 8
STRIP_ROWS, STEP_COLS, CHUNK, BLOCK = 16, 256, 128, 32
SHARED = 99 * 1024  # bytes of a block: what every GPU from sm_80 on has
BLOCKS = 3  # of a multiprocessor
MANY_OUTPUTS = 2**14  # from here on an item has two strips: half as many barriers
MINIMA = {"Q4_K", "Q5_K"}  # types whose kernels read the sums of activations


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a launch is cut. `span`: columns of activations that a block holds at a time."""

    grid: int
    block: int
    shared: int  # bytes
    strips: int  # of 16 outputs, of a work item
    span: np.int32

    @property
    def arguments(self) -> tuple[np.int32, ...]:
        return np.int32(self.strips), self.span


def step_bytes(type_name: str) -> int:
    """16 rows by 256 columns of a type in shared memory."""
    tile = TILES[type_name]
    return STEP_COLS // tile.cols * STRIP_ROWS * (tile.pieces * PIECE_BYTES + tile.tail)


def depth(type_name: str) -> int:
    """Steps that a warp keeps under way."""
    return 3 if step_bytes(type_name) <= 2816 else 2


def strips_of(outputs: int, cols: int) -> int:
    """One strip of 16 outputs makes the most items; two where these would be too small for the warps, or many."""
    return 2 if cols < STEP_COLS * WARPS or outputs >= MANY_OUTPUTS else 1


def geometry(
    stream: Stream, op: str, types: Sequence[str], cols: int, *, strips: int, items: int, large: bool = False
) -> Geometry:
    """For weights of `types` and `cols` columns, pads included; `items` pieces of work of `strips` strips each.

    large: for a kernel that takes any number of warps. A multiprocessor then is a block of two or three times as many,
    where it has the shared memory for all columns.
    """
    blocks(items)  # refuses more than a kernel can count
    multiprocessors, all_steps = stream.device.multiprocessors, -(-cols // STEP_COLS)
    most = _large_warps(types, all_steps, strips)
    if large and _shared(types, all_steps, strips=strips, warps=most) <= stream.device.shared_limit:
        warps, resident, steps = most, 1, all_steps
        shared = _shared(types, steps, strips=strips, warps=warps)
    else:
        warps, resident, steps = WARPS, BLOCKS, all_steps
        while (shared := _shared(types, steps, strips=strips, warps=warps)) > SHARED:
            steps = (steps - 1) // WARPS * WARPS  # every warp has as many steps of each strip
    return Geometry(
        grid=max(1, min(items, resident * multiprocessors)),
        block=32 * warps,
        shared=shared,
        strips=strips,
        span=int32(op, "span", steps * STEP_COLS),
    )


def _large_warps(types: Sequence[str], steps: int, strips: int) -> int:
    """Three times the warps where a warp then has fewer steps and its registers allow it, else twice."""
    rounds = {times: -(-steps * strips // (times * WARPS)) for times in (2, 3)}
    few_registers = max(map(step_bytes, types)) <= 3360
    return (3 if few_registers and rounds[3] < rounds[2] else 2) * WARPS


def _shared(types: Sequence[str], steps: int, *, strips: int, warps: int) -> int:
    """Bytes of a block that holds the activations of so many steps."""
    ring = warps * min(map(depth, types)) * max(map(step_bytes, types))
    terms = 2 if MINIMA.intersection(types) else 1  # scales, and sums where a type has minima
    per_chunk = strips * STRIP_ROWS * 4  # bytes of the sums of chunks
    per_step = STEP_COLS + STEP_COLS // BLOCK * 4 * terms + STEP_COLS // CHUNK * per_chunk
    return ring + steps * per_step + per_chunk  # one more than there are keeps the sums of two strips apart
