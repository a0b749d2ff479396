"""From stored blocks to the pieces of a tile and back, one pair of functions for each kind of block.

`blocks` is structured, (groups, 32 rows, tiles, blocks of a tile); `pieces` (groups, 32, tiles, pieces of a row) are
items of 16 bytes and `tails` (groups, 32, tiles, bytes) their tails. All are views, filled in place: `pack` writes
pieces and tails, `unpack` writes blocks.

In a run of 32 bytes that stands for 32 elements, byte j of the first piece made from it holds the low nibbles of bytes
j and j + 16, byte j of the second piece the high ones: `_split` does that for codes, fifth bits and upper bits alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PIECE = np.dtype("V16")

_LOW = np.uint64(0x0F0F0F0F0F0F0F0F)
_HIGH = np.uint64(0xF0F0F0F0F0F0F0F0)
_FOUR = np.uint64(4)
# Byte b as eight bytes: bit i of it alone in byte i.
_SPREAD = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little").view(np.uint64).ravel()


@dataclass(frozen=True, kw_only=True)
class Packing:
    """The two directions for one weight type."""

    pack: Callable[[Array, Array, Array], None]  # blocks, pieces, tails
    unpack: Callable[[Array, Array, Array], None]


def _exchange(items: Array) -> Array:
    """(..., n, 2) items of 16 bytes: low nibbles of both into the first, high nibbles of both into the second.

    Its own inverse. The operations run over contiguous words: a short inner axis would cost five times as much.
    """
    first = np.ascontiguousarray(items[..., 0]).view(np.uint64)
    second = np.ascontiguousarray(items[..., 1]).view(np.uint64)
    out = np.empty(items.shape, PIECE)
    out[..., 0] = ((first & _LOW) | ((second & _LOW) << _FOUR)).view(PIECE)
    out[..., 1] = (((first >> _FOUR) & _LOW) | (second & _HIGH)).view(PIECE)
    return out


def _split(runs: Array) -> Array:
    """(..., runs of 32 bytes one after the other) uint8 -> (..., n, 2) pieces."""
    items = runs.view(PIECE)
    return _exchange(items.reshape(*items.shape[:-1], -1, 2))


def _join(pieces: Array) -> Array:
    """The inverse: (..., n, 2) pieces -> (..., 32n) uint8."""
    items = _exchange(pieces)
    return items.reshape(*items.shape[:-2], -1).view(np.uint8)


def _bytes(pieces: Array) -> Array:
    """(..., n) pieces -> (..., 16n) uint8."""
    return np.ascontiguousarray(pieces).view(np.uint8)


def _pack_floats(blocks: Array, pieces: Array, tails: Array) -> None:
    pieces[...] = blocks.view(PIECE)


def _unpack_floats(blocks: Array, pieces: Array, tails: Array) -> None:
    blocks[...] = _bytes(pieces).view(blocks.dtype)


def _pack_q8_0(blocks: Array, pieces: Array, tails: Array) -> None:
    pieces.reshape(*blocks.shape, 2)[...] = blocks["qs"].view(PIECE)
    tails.view("<f2")[...] = blocks["d"]


def _unpack_q8_0(blocks: Array, pieces: Array, tails: Array) -> None:
    blocks["qs"] = _bytes(pieces).view(np.int8).reshape(*blocks.shape, 32)
    blocks["d"] = tails.view("<f2")


def _pack_q4_0(blocks: Array, pieces: Array, tails: Array) -> None:
    pieces[..., :4] = blocks["qs"].view(PIECE)[..., 0]
    tails.view("<f2")[...] = blocks["d"]


def _unpack_q4_0(blocks: Array, pieces: Array, tails: Array) -> None:
    blocks["qs"] = _bytes(pieces[..., :4]).reshape(*blocks.shape, 16)
    blocks["d"] = tails.view("<f2")


def _pack_q5_0(blocks: Array, pieces: Array, tails: Array) -> None:
    _pack_q4_0(blocks, pieces, tails)
    spread = _SPREAD[blocks["qh"]]  # (..., block, byte of qh): eight elements each
    shifts = np.arange(4, dtype=np.uint64)[:, None]
    bits = (spread[..., :2] << shifts) | (spread[..., 2:] << (shifts + _FOUR))
    pieces[..., 4] = np.bitwise_or.reduce(bits, axis=-2).view(PIECE)[..., 0]


def _unpack_q5_0(blocks: Array, pieces: Array, tails: Array) -> None:
    _unpack_q4_0(blocks, pieces, tails)
    bits = np.unpackbits(_bytes(pieces[..., 4:5]), axis=-1, bitorder="little")  # element, then half and block
    by_block = bits.reshape(*blocks.shape[:-1], 16, 2, 4).transpose(0, 1, 2, 5, 4, 3)
    blocks["qh"] = np.packbits(by_block.reshape(*blocks.shape, 32), axis=-1, bitorder="little")


def _pack_offset(blocks: Array, pieces: Array, tails: Array) -> None:
    """Q4_K and Q5_K. Before the codes stand d, dmin and the scales, together 16 bytes."""
    pieces[..., 0] = blocks.view(np.uint8)[..., :16].view(PIECE)[..., 0]
    pieces[..., 1:9] = _split(blocks["qs"]).reshape(*blocks.shape[:-1], 8)
    if "qh" in (blocks.dtype.names or ()):
        pieces[..., 9:] = _split(blocks["qh"]).reshape(*blocks.shape[:-1], 2)


def _unpack_offset(blocks: Array, pieces: Array, tails: Array) -> None:
    blocks.view(np.uint8)[..., :16] = _bytes(pieces[..., :1])
    blocks["qs"][..., 0, :] = _join(pieces[..., 1:9].reshape(*pieces.shape[:-1], 4, 2))
    if "qh" in (blocks.dtype.names or ()):
        blocks["qh"][..., 0, :] = _join(pieces[..., 9:].reshape(*pieces.shape[:-1], 1, 2))


def _pack_q6_k(blocks: Array, pieces: Array, tails: Array) -> None:
    shape = blocks.shape[:-1]
    # Of the 64 bytes of a half, the first 32 give blocks 0 and 2, the last 32 blocks 1 and 3.
    low = _split(blocks["ql"]).reshape(*shape, 2, 2, 2)  # half, run, nibble
    pieces[..., :8] = low.swapaxes(-1, -2).reshape(*shape, 8)
    pieces[..., 8:12] = _split(blocks["qh"]).reshape(*shape, 4)
    pieces[..., 12] = blocks["scales"].view(PIECE)[..., 0, 0]
    tails.view("<f2")[...] = blocks["d"]


def _unpack_q6_k(blocks: Array, pieces: Array, tails: Array) -> None:
    shape = blocks.shape[:-1]
    low = pieces[..., :8].reshape(*shape, 2, 2, 2).swapaxes(-1, -2)
    blocks["ql"][..., 0, :] = _join(low.reshape(*shape, 4, 2))
    blocks["qh"][..., 0, :] = _join(pieces[..., 8:12].reshape(*shape, 2, 2))
    blocks["scales"][..., 0, :] = _bytes(pieces[..., 12:13]).view(np.int8)
    blocks["d"] = tails.view("<f2")


_FLOATS = Packing(pack=_pack_floats, unpack=_unpack_floats)
_OFFSET = Packing(pack=_pack_offset, unpack=_unpack_offset)

PACKINGS: Mapping[str, Packing] = MappingProxyType(
    {
        "F32": _FLOATS,
        "F16": _FLOATS,
        "BF16": _FLOATS,
        "Q8_0": Packing(pack=_pack_q8_0, unpack=_unpack_q8_0),
        "Q4_0": Packing(pack=_pack_q4_0, unpack=_unpack_q4_0),
        "Q5_0": Packing(pack=_pack_q5_0, unpack=_unpack_q5_0),
        "Q4_K": _OFFSET,
        "Q5_K": _OFFSET,
        "Q6_K": Packing(pack=_pack_q6_k, unpack=_unpack_q6_k),
    }
)
"""By weight type."""
