"""Geometry of the skeleton for a few rows (engine/kernels/few.cuh): what its launchers share."""

from __future__ import annotations

from collections.abc import Sequence

from engine.device import Stream
from engine.ops._matvec import BLOCK, CHUNK, MINIMA, SHARED, STEP_COLS, STRIP_ROWS, WARPS, Geometry, step_bytes
from engine.ops.checks import blocks, int32
from engine.weights.tiles import PIECE_BYTES

ROWS = 8  # of a band: what one reading of the weights serves
DEPTH, RESIDENT = 2, 2  # steps that a warp keeps under way; blocks of a multiprocessor
CODES_PAD, TERMS_PAD, SUMS_PAD = PIECE_BYTES, 4 * 4, 4 * 4  # bytes that keep the banks of rows apart


def bands(rows: int) -> int:
    """Of activation rows."""
    return -(-rows // ROWS)


def strips_of(cols: int) -> int:
    """One strip of 16 outputs makes the most items; two where these would be too small for the warps."""
    return 2 if cols < STEP_COLS * WARPS else 1


def geometry(
    stream: Stream, op: str, types: Sequence[str], rows: int, cols: int, *, strips: int, items: int
) -> Geometry:
    """For weights of `types` and `cols` columns, pads included; `items` pieces of work of `strips` strips each."""
    blocks(items)  # refuses more than a kernel can count
    most = min(rows, ROWS)
    ring = WARPS * DEPTH * max(map(step_bytes, types))
    terms = 2 if MINIMA.intersection(types) else 1  # scales, and sums where a type has minima
    pads = most * (CODES_PAD + terms * TERMS_PAD)
    sums = STEP_COLS // CHUNK * (strips * STRIP_ROWS * 4 + SUMS_PAD)
    per_step = most * (STEP_COLS + STEP_COLS // BLOCK * 4 * terms + sums)
    steps = -(-cols // STEP_COLS)
    if ring + pads + steps * per_step > SHARED:
        apart = WARPS // strips  # steps of a strip that its warps take at a time
        steps = (SHARED - ring - pads) // per_step // apart * apart
    return Geometry(
        grid=max(1, min(items, RESIDENT * stream.device.multiprocessors)),
        shared=ring + pads + steps * per_step,
        strips=strips,
        span=int32(op, "span", steps * STEP_COLS),
    )
