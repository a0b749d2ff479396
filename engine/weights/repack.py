"""Launches repack (engine/kernels/repack.cu): rows from the order of the file to tiles."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, require
from engine.weights.tiles import TILE_ROWS, TILES


def repack(stream: Stream, stored: Buffer, type_name: str, *, out: Buffer) -> None:
    """stored (rows, bytes per row) uint8, as in the file -> out (row groups, k tiles, bytes of a tile) uint8."""
    layout = TILES[type_name]
    rows, row_bytes = require("repack", "stored", stored, (None, None), np.uint8)
    groups, across = -(-rows // TILE_ROWS), -(-row_bytes // layout.row_bytes)
    require("repack", "out", out, (groups, across, layout.nbytes), np.uint8)
    grid = blocks(groups * across * (layout.pieces + (layout.tail > 0)), WARPS)
    args = (out, stored, int32("repack", "rows", rows), int32("repack", "row_bytes", row_bytes))
    stream.launch("repack", f"repack_{type_name.lower()}", grid=grid, block=THREADS, args=args)
