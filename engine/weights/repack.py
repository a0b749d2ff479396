"""Weights from the order of the file to tiles and back: the same information, other places (see tiles.py)."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from engine.weights.pieces import PACKINGS, PIECE, Array
from engine.weights.tiles import PIECE_BYTES, TILE_ROWS, TILES, TileLayout
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor

U8 = NDArray[np.uint8]

# Worked on at a time, and threads at most. Threads that do short operations wait for the interpreter's lock: with
# chunks of half a MiB, 32 threads took twice as long as two.
_CHUNK_BYTES, _THREADS = 1 << 21, 8


def repack(tensor: Tensor) -> U8:
    """The tiles of a matrix, (row groups, k tiles, bytes of a tile); pads are zero."""
    rows, cols = tensor.shape
    layout = TILES[tensor.type]
    tiles = np.empty(layout.shape(rows, cols), np.uint8)
    padded = _padded_row_bytes(layout, cols)

    def work(first: int, stop: int) -> None:
        groups, wanted = stop - first, (stop - first) * TILE_ROWS
        data = tensor.data[first * TILE_ROWS : stop * TILE_ROWS]
        if data.shape != (wanted, padded):
            whole = np.zeros((wanted, padded), np.uint8)
            whole[: len(data), : data.shape[1]] = data
            data = whole
        pieces, tails = _views(tiles[first:stop], layout)
        PACKINGS[tensor.type].pack(_blocks(np.ascontiguousarray(data), layout, groups), pieces, tails)

    _for_groups(work, len(tiles), padded)
    return tiles


def unpack(tiles: U8, type_name: str, rows: int, cols: int) -> U8:
    """The stored rows, (rows, bytes per row), that `repack` made `tiles` from."""
    layout = TILES[type_name]
    padded = _padded_row_bytes(layout, cols)
    data = np.empty((len(tiles) * TILE_ROWS, padded), np.uint8)

    def work(first: int, stop: int) -> None:
        blocks = _blocks(data[first * TILE_ROWS : stop * TILE_ROWS], layout, stop - first)
        pieces, tails = _views(tiles[first:stop], layout)
        PACKINGS[type_name].unpack(blocks, pieces, tails)

    _for_groups(work, len(tiles), padded)
    return data[:rows, : WEIGHT_TYPES[type_name].row_bytes(cols)]


def _padded_row_bytes(layout: TileLayout, cols: int) -> int:
    return WEIGHT_TYPES[layout.type].row_bytes(-(-cols // layout.cols) * layout.cols)


def _blocks(data: U8, layout: TileLayout, groups: int) -> Array:
    """Padded stored rows as (groups, 32, k tiles, blocks of a tile), a view."""
    kind = WEIGHT_TYPES[layout.type]
    blocks: Array = data.view(kind.dtype).reshape(groups, TILE_ROWS, -1, layout.cols // kind.block_elements)
    return blocks


def _views(tiles: U8, layout: TileLayout) -> tuple[Array, Array]:
    """Pieces (groups, 32, k tiles, pieces) and tails (groups, 32, k tiles, bytes) of tiles, both in row order."""
    groups, count, _ = tiles.shape
    split = TILE_ROWS * PIECE_BYTES * layout.pieces
    pieces = tiles[..., :split].view(PIECE).reshape(groups, count, layout.pieces, TILE_ROWS).transpose(0, 3, 1, 2)
    tails = tiles[..., split:].reshape(groups, count, TILE_ROWS, layout.tail).transpose(0, 2, 1, 3)
    return pieces, tails


def _for_groups(work: Callable[[int, int], None], groups: int, row_bytes: int) -> None:
    """Call work(first, stop) for all row groups in chunks, on several cores if there are several chunks."""
    step = max(1, _CHUNK_BYTES // (TILE_ROWS * row_bytes))
    starts = range(0, groups, step)
    if len(starts) == 1:
        work(0, groups)
        return
    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        list(pool.map(lambda first: work(first, min(first + step, groups)), starts))
