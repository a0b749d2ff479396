"""Geometry of the skeleton for a few rows (engine/kernels/few.cuh): what its launchers share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from engine.device import Stream
from engine.ops._matvec import BLOCK, CHUNK, MINIMA, SHARED, STEP_COLS, STRIP_ROWS, Geometry, step_bytes
from engine.ops.checks import blocks, int32
from engine.weights.tiles import PIECE_BYTES

ROWS = 8  # of a band: what one reading of the weights serves
DEPTH = 2  # steps that a warp keeps under way
TURNS = 2  # steps of a warp in a round, at most
PLACES = {16: 1, 8: 2}  # blocks of a multiprocessor by their warps
RESERVED = 1024  # bytes of shared memory that the GPU takes for each block
CODES_PAD, TERMS_PAD, SUMS_PAD = PIECE_BYTES, 4 * 4, 4 * 4  # bytes that keep the banks of rows apart


@dataclass(frozen=True, kw_only=True)
class FewGeometry(Geometry):
    """`turns`: steps of a warp in a round."""

    turns: np.int32

    @property
    def arguments(self) -> tuple[np.int32, ...]:
        return np.int32(self.strips), self.span, self.turns


def bands(rows: int) -> int:
    """Of activation rows."""
    return -(-rows // ROWS)


def items_of(outputs: Sequence[int], rows: int) -> dict[int, int]:
    """Pieces of work in products of so many outputs, by the strips of 16 outputs of a piece."""
    return {strips: sum(-(-n // (strips * STRIP_ROWS)) for n in outputs) * bands(rows) for strips in (2, 1)}


def geometry(
    stream: Stream, op: str, types: Sequence[str], rows: int, cols: int, *, items: Mapping[int, int]
) -> FewGeometry:
    """For weights of `types` and `cols` columns, pads included; `items`: pieces of work by the strips of a piece.

    Of the ways that there is room for, that in which the busiest multiprocessor has the fewest steps; of those, one in
    which activations come a round ahead of their use. The span is all columns, or two rounds, or 0 where there is only
    room for one and for its sums.
    """
    device = stream.device
    ways: list[tuple[int, bool, FewGeometry]] = []
    for warps, strips in product(PLACES, items):
        blocks(items[strips])  # refuses more than a kernel can count
        places, apart = PLACES[warps] * device.multiprocessors, warps // strips
        turns, deep = -(-cols // (STEP_COLS * apart)), -(-items[strips] // places)  # of an item; items of a block
        limit = device.shared_limit if PLACES[warps] == 1 else max(SHARED, device.shared_limit // 2 - RESERVED)
        for held, of_round in _rounds(turns, whole=bands(rows) == 1):
            shared = shared_bytes(types, rows, strips=strips, warps=warps, held=held, turns=of_round)
            if shared <= limit:
                span = int32(op, "span", held * of_round * apart * STEP_COLS)
                cut = FewGeometry(
                    grid=max(1, min(items[strips], places)), block=32 * warps, shared=shared, strips=strips, span=span,
                    turns=np.int32(of_round),
                )  # fmt: skip
                ways.append((deep * turns * PLACES[warps] * warps, held == 0, cut))
                break
    return min(ways, key=lambda way: way[:2])[-1]


def _rounds(turns: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Rounds whose activations a block may hold and turns of a round, the better first; an item has so many turns."""
    if whole:
        for most in range(min(TURNS, turns), 0, -1):
            rounds = -(-turns // most)
            yield rounds, -(-turns // rounds)
    yield from ((2, 1), (0, 1))


def shared_bytes(types: Sequence[str], rows: int, *, strips: int, warps: int, held: int, turns: int) -> int:
    """Of a block that holds the activations of so many rounds; 0: of one, and no second place for its sums."""
    round_columns = turns * (warps // strips) * STEP_COLS
    most, columns = min(rows, ROWS), max(held, 1) * round_columns
    terms = 2 if MINIMA.intersection(types) else 1  # scales, and sums where a type has minima
    scales = 32 * CHUNK // BLOCK * (8 if any(name.endswith("_K") for name in types) else 4)  # of a step, taken apart
    ring = warps * (DEPTH * max(map(step_bytes, types)) + scales)
    row = columns + CODES_PAD + terms * (columns // BLOCK * 4 + TERMS_PAD)
    sums = (2 if held else 1) * round_columns // CHUNK * (strips * STRIP_ROWS * 4 + SUMS_PAD)
    return ring + most * (row + sums) + CHUNK  # and a chunk of zeros
