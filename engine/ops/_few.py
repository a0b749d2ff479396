"""Geometry of the skeleton for a few rows (engine/kernels/few.cuh): what its launchers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from engine.device import Stream
from engine.ops._matvec import BLOCK, CHUNK, MINIMA, SHARED, STEP_COLS, STRIP_ROWS, Geometry, step_bytes
from engine.ops.checks import blocks, int32
from engine.weights.tiles import PIECE_BYTES

ROWS = 8  # of a band: what one reading of the weights serves
DEPTH = 2  # steps that a warp keeps under way
PLACES = {16: 1, 8: 2}  # blocks of a multiprocessor by their warps
RESERVED = 1024  # bytes of shared memory that the GPU takes for each block
CODES_PAD, TERMS_PAD, SUMS_PAD = PIECE_BYTES, 4 * 4, 4 * 4  # bytes that keep the banks of rows apart


def bands(rows: int) -> int:
    """Of activation rows."""
    return -(-rows // ROWS)


def items_of(outputs: Sequence[int], rows: int) -> dict[int, int]:
    """Pieces of work in products of so many outputs, by the strips of 16 outputs of a piece."""
    return {strips: sum(-(-n // (strips * STRIP_ROWS)) for n in outputs) * bands(rows) for strips in (2, 1)}


def geometry(
    stream: Stream, op: str, types: Sequence[str], rows: int, cols: int, *, items: Mapping[int, int]
) -> Geometry:
    """For weights of `types` and `cols` columns, pads included; `items`: pieces of work by the strips of a piece.

    Of the ways that there is room for, that in which the busiest multiprocessor has the fewest steps; of those, one in
    which activations come a round ahead of their use. The span is all columns, or two rounds, or 0 where there is only
    room for one and for its sums.
    """
    device, ways = stream.device, []
    for warps, strips in product(PLACES, items):
        blocks(items[strips])  # refuses more than a kernel can count
        places, rounds = PLACES[warps] * device.multiprocessors, -(-cols // (STEP_COLS * (warps // strips)))
        steps = -(-items[strips] // places) * rounds * PLACES[warps] * warps
        limit = device.shared_limit if PLACES[warps] == 1 else max(SHARED, device.shared_limit // 2 - RESERVED)
        for held in (rounds, 2, 0) if bands(rows) == 1 else (2, 0):  # rounds whose activations a block holds
            shared = shared_bytes(types, rows, strips=strips, warps=warps, held=held)
            if shared <= limit:
                ways.append((steps, held == 0, warps, strips, held, shared))
                break
    _, _, warps, strips, held, shared = min(ways, key=lambda way: way[:2])
    return Geometry(
        grid=max(1, min(items[strips], PLACES[warps] * device.multiprocessors)),
        block=32 * warps,
        shared=shared,
        strips=strips,
        span=int32(op, "span", held * (warps // strips) * STEP_COLS),
    )


def shared_bytes(types: Sequence[str], rows: int, *, strips: int, warps: int, held: int) -> int:
    """Of a block that holds the activations of so many rounds; 0: of one, and no second place for its sums."""
    most, columns = min(rows, ROWS), max(held, 1) * (warps // strips) * STEP_COLS
    terms = 2 if MINIMA.intersection(types) else 1  # scales, and sums where a type has minima
    scales = 32 * CHUNK // BLOCK * (8 if any(name.endswith("_K") for name in types) else 4)  # of a step, taken apart
    ring = warps * (DEPTH * max(map(step_bytes, types)) + scales)
    row = columns + CODES_PAD + terms * (columns // BLOCK * 4 + TERMS_PAD)
    sums = (2 if held else 1) * (warps // strips) * STEP_COLS // CHUNK * (strips * STRIP_ROWS * 4 + SUMS_PAD)
    return ring + most * (row + sums) + CHUNK  # and a chunk of zeros
