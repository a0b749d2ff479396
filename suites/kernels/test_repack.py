"""Repacked weights: the same information in other places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device
from engine.weights import TILES, load_weight, repack, repacked_bytes, unpack
from engine.weights.tiles import PIECE_BYTES, TILE_ROWS
from reference.quant import HalvedBlocks, OffsetBlocks, ScaledBlocks, q4_0, q4_k, q5_0, q5_k, q6_k, q8_0
from reference.spec.gguf_file import TensorInfo
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor
from suites.kernels.matmuls import weight

U8 = NDArray[np.uint8]

WIDTHS = {256: (256, 512, 2304), 32: (32, 96, 704, 2112), 1: (1, 5, 128, 129, 500)}
CASES = [
    (name, rows, cols)
    for name, kind in WEIGHT_TYPES.items()
    for rows in (1, 31, 32, 33, 97)
    for cols in WIDTHS[kind.block_elements]
]
CODES: dict[str, tuple[Callable[[U8], ScaledBlocks | OffsetBlocks | HalvedBlocks], int]] = {
    "Q8_0": (q8_0.decode, 0),
    "Q4_0": (q4_0.decode, 8),
    "Q5_0": (q5_0.decode, 16),
    "Q4_K": (q4_k.decode, 0),
    "Q5_K": (q5_k.decode, 0),
    "Q6_K": (q6_k.decode, 32),
}


def _random_bytes(type_name: str, rows: int, cols: int) -> Tensor:
    nbytes = WEIGHT_TYPES[type_name].row_bytes(cols)
    data = np.random.default_rng([rows, cols]).integers(0, 256, (rows, nbytes), dtype=np.uint8)
    return Tensor(name="weight", type=type_name, shape=(rows, cols), data=data)


@pytest.mark.parametrize(("type_name", "rows", "cols"), CASES)
def test_unpack_gives_back_every_byte(type_name: str, rows: int, cols: int) -> None:
    tensor = _random_bytes(type_name, rows, cols)
    tiles = repack(tensor)
    assert tiles.shape == TILES[type_name].shape(rows, cols)
    np.testing.assert_array_equal(unpack(tiles, type_name, rows, cols), tensor.data)


@pytest.mark.parametrize("type_name", TILES)
def test_many_chunks_in_parallel(type_name: str) -> None:
    tensor = _random_bytes(type_name, 1000, 2048)
    np.testing.assert_array_equal(unpack(repack(tensor), type_name, 1000, 2048), tensor.data)


@pytest.mark.parametrize("type_name", TILES)
def test_pads_are_zero(type_name: str) -> None:
    cols = 256 if WEIGHT_TYPES[type_name].block_elements == 256 else 160
    ones = np.full((33, WEIGHT_TYPES[type_name].row_bytes(cols)), 0xFF, np.uint8)
    tiles = repack(Tensor(name="weight", type=type_name, shape=(33, cols), data=ones))
    assert np.unpackbits(tiles).sum() == 8 * ones.size
    assert _rows(tiles[1], type_name)[:, 1:].sum() == 0  # row 32 is the only one of its group


@pytest.mark.parametrize("type_name", TILES)
def test_a_tile_takes_no_more_than_the_file(type_name: str) -> None:
    layout, kind = TILES[type_name], WEIGHT_TYPES[type_name]
    assert layout.nbytes == TILE_ROWS * kind.row_bytes(layout.cols)
    assert layout.nbytes % PIECE_BYTES == 0  # every tile starts where 16 bytes can be loaded


@pytest.mark.parametrize("type_name", CODES)
def test_pieces_hold_the_codes_where_kernels_look(type_name: str) -> None:
    """The order that engine/kernels/weights.cuh reads, built anew from the decoded codes."""
    layout = TILES[type_name]
    rows, cols = 40, 3 * layout.cols
    tensor = weight(type_name, rows, cols)
    decode, offset = CODES[type_name]
    codes = np.zeros((64, cols), np.uint8)
    codes[:rows] = (decode(tensor.data).codes.reshape(rows, cols) + np.int8(offset)).view(np.uint8)
    tiles = repack(tensor)
    for group, tile in np.ndindex(tiles.shape[:2]):
        of_tile = codes[group * 32 : group * 32 + 32, tile * layout.cols : (tile + 1) * layout.cols]
        blocks = of_tile.reshape(32, -1, 2, 16)  # row, block, half, element
        pieces = _rows(tiles[group, tile][None], type_name).swapaxes(0, 1)
        real = slice(0, max(0, min(32, rows - group * 32)))
        np.testing.assert_array_equal(pieces[real], _expected_pieces(type_name, blocks, pieces)[real])


def _rows(tiles: U8, type_name: str) -> U8:
    """Pieces of one tile as (piece, row, byte); several tiles one after the other."""
    split = TILE_ROWS * PIECE_BYTES * TILES[type_name].pieces
    pieces: U8 = tiles[:, :split].reshape(-1, TILE_ROWS, PIECE_BYTES)
    return pieces


def _expected_pieces(type_name: str, blocks: U8, pieces: U8) -> U8:
    """The pieces (row, piece, byte) of one tile; headers as they are in `pieces`."""
    if type_name == "Q8_0":
        return blocks.reshape(32, 8, 16)
    low, upper = blocks & np.uint8(15), blocks >> np.uint8(4)
    nibbles = low[:, :, 0] | (low[:, :, 1] << np.uint8(4))
    if type_name in ("Q5_0", "Q5_K"):
        by_chunk = upper.reshape(32, -1, 4, 2, 16)
        bits = np.arange(4, dtype=np.uint8)[:, None]
        fifth = ((by_chunk[:, :, :, 0] << bits) | (by_chunk[:, :, :, 1] << (bits + 4))).sum(axis=2, dtype=np.uint8)
    match type_name:
        case "Q4_0":
            return nibbles
        case "Q5_0":
            return np.concatenate((nibbles, fifth), axis=1)
        case "Q4_K":
            return np.concatenate((pieces[:, :1], nibbles), axis=1)
        case "Q5_K":
            return np.concatenate((pieces[:, :1], nibbles, fifth), axis=1)
    by_pair = upper.reshape(32, 4, 2, 2, 16)  # row, pair of blocks, block, half, element
    places = np.array([[0, 4], [2, 6]], np.uint8)[..., None]  # of the pair's first and second block, of the two halves
    pairs = (by_pair << places).sum(axis=(2, 3), dtype=np.uint8)
    return np.concatenate((nibbles, pairs, pieces[:, 12:]), axis=1)


@pytest.mark.parametrize("type_name", TILES)
def test_the_bytes_told_before_loading_are_the_bytes_taken(device: Device, type_name: str) -> None:
    tensor = weight(type_name, 33, 768)
    info = TensorInfo(name="weight", type=type_name, shape=(33, 768), offset=0, nbytes=tensor.data.nbytes)
    before = device.used_bytes()
    loaded = load_weight(device, tensor, "weight")
    assert device.used_bytes() - before == repacked_bytes(info, device.alignment)
    np.testing.assert_array_equal(unpack(loaded.buffer.read().view(np.uint8), type_name, 33, 768), tensor.data)
    device.free(loaded.buffer)


def test_a_vector_is_counted_as_float32(device: Device) -> None:
    info = TensorInfo(name="norm", type="F16", shape=(1000,), offset=0, nbytes=2000)
    before = device.used_bytes()
    vector = device.upload(np.zeros(1000, np.float32), "norm")
    assert device.used_bytes() - before == repacked_bytes(info, device.alignment)
    device.free(vector)
