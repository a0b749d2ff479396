"""How repacked weights lie in device memory. The kernels' side of it is engine/kernels/weights.cuh.

A tile is 32 output rows by `cols` columns. It starts with 16-byte pieces ordered [piece][row], so that a warp with
lane = row reads 512 consecutive bytes, and ends with a tail of a few bytes a row. A matrix is its tiles ordered
[row group][k tile]; rows are padded to a multiple of 32 and columns to a multiple of `cols` with zero bytes: codes and
scales of zero. Nothing but the order of the bits differs from the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TILE_ROWS = 32
PIECE_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class TileLayout:
    """The tile of one weight type."""

    type: str  # a key of reference.spec.layout.WEIGHT_TYPES
    cols: int
    pieces: int  # 16-byte pieces of a row
    tail: int  # bytes of a row after the pieces

    @property
    def nbytes(self) -> int:
        return TILE_ROWS * (PIECE_BYTES * self.pieces + self.tail)

    @property
    def row_bytes(self) -> int:
        """Of one row of a tile, here and in the file."""
        return self.nbytes // TILE_ROWS

    def shape(self, rows: int, cols: int) -> tuple[int, int, int]:
        """(row groups, k tiles, bytes of a tile) of a matrix."""
        return -(-rows // TILE_ROWS), -(-cols // self.cols), self.nbytes


_LAYOUTS = (
    TileLayout(type="F32", cols=128, pieces=32, tail=0),  # 4 values a piece
    TileLayout(type="F16", cols=128, pieces=16, tail=0),  # 8 values a piece
    TileLayout(type="BF16", cols=128, pieces=16, tail=0),
    TileLayout(type="Q8_0", cols=128, pieces=8, tail=8),  # two of codes for each block; tail: the four d
    TileLayout(type="Q4_0", cols=128, pieces=4, tail=8),  # one of nibbles for each block
    TileLayout(type="Q5_0", cols=128, pieces=5, tail=8),  # the same, then the fifth bits
    TileLayout(type="Q4_K", cols=256, pieces=9, tail=0),  # d, dmin and scales, then nibbles of each block
    TileLayout(type="Q5_K", cols=256, pieces=11, tail=0),  # the same, then the fifth bits of each half
    TileLayout(type="Q6_K", cols=256, pieces=13, tail=2),  # nibbles, upper bits (4 pieces), scales; tail: d
)

TILES: Mapping[str, TileLayout] = MappingProxyType({layout.type: layout for layout in _LAYOUTS})
"""By weight type."""
