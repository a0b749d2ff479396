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
    """For weights of `types` and `cols` columns, pads included; `items` pieces of work of `strips` strips each.

    The span is all columns, or two rounds, or 0 where there is only room for one and for its sums.
    """
    blocks(items)  # refuses more than a kernel can count
    most, apart = min(rows, ROWS), WARPS // strips
    terms = 2 if MINIMA.intersection(types) else 1  # scales, and sums where a type has minima
    fixed = WARPS * DEPTH * max(map(step_bytes, types)) + most * (CODES_PAD + terms * TERMS_PAD)
    activations = most * apart * (STEP_COLS + STEP_COLS // BLOCK * 4 * terms)  # of a round
    sums = most * apart * STEP_COLS // CHUNK * (strips * STRIP_ROWS * 4 + SUMS_PAD)
    rounds = -(-cols // (STEP_COLS * apart))
    choices = (rounds, 2) if bands(rows) == 1 else (2,)  # rounds whose activations a block holds, the first that fits
    held = next((n for n in choices if fixed + n * activations + 2 * sums <= SHARED), 0)
    return Geometry(
        grid=max(1, min(items, RESIDENT * stream.device.multiprocessors)),
        shared=fixed + max(held, 1) * activations + (2 if held else 1) * sums,
        strips=strips,
        span=int32(op, "span", held * apart * STEP_COLS),
    )
