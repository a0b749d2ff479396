"""Weights on every device: the same information as in the file, in other places, by a definition without a kernel."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.weights import TILES, load_weight, repacked_bytes, room_for, write_tiles
from engine.weights import load as loading
from engine.weights.repack import repack
from engine.weights.tiles import PIECE_BYTES, TILE_ROWS
from reference.quant import HalvedBlocks, OffsetBlocks, ScaledBlocks, q4_0, q4_k, q5_0, q5_k, q6_k, q8_0
from reference.spec.errors import OutOfMemory
from reference.spec.gguf_file import TensorInfo
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor
from suites.kernels.cases import GRIDS, assert_same_integers
from suites.kernels.matmuls import weight

U8 = NDArray[np.uint8]

WIDTHS = {256: (256, 512, 2304), 32: (32, 96, 704, 2112), 1: (1, 5, 128, 129, 500)}
CASES = [
    (name, rows, cols)
    for name, kind in WEIGHT_TYPES.items()
    for rows in (1, 31, 32, 33, 97)
    for cols in WIDTHS[kind.block_elements]
]
ODD = {256: 768, 32: 160, 1: 131}  # by elements of a block: three tiles, or one and a bit
CODES: dict[str, tuple[Callable[[U8], ScaledBlocks | OffsetBlocks | HalvedBlocks], int]] = {
    "Q8_0": (q8_0.decode, 0),
    "Q4_0": (q4_0.decode, 8),
    "Q5_0": (q5_0.decode, 16),
    "Q4_K": (q4_k.decode, 0),
    "Q5_K": (q5_k.decode, 0),
    "Q6_K": (q6_k.decode, 32),
}


def _tiles(tensor: Tensor) -> U8:
    """The tiles of a matrix (row groups, k tiles, bytes of a tile), as engine/weights/tiles.py describes them."""
    layout = TILES[tensor.type]
    groups, across, _ = layout.shape(*tensor.shape)
    rows = np.zeros((groups * TILE_ROWS, across * layout.row_bytes), np.uint8)
    rows[: len(tensor.data), : tensor.data.shape[1]] = tensor.data
    rows = rows.reshape(-1, layout.row_bytes)  # of tiles
    pieces = _pieces(tensor.type, rows).reshape(groups, TILE_ROWS, across, layout.pieces, PIECE_BYTES)
    tails = _tails(tensor.type, rows).reshape(groups, TILE_ROWS, across, layout.tail)
    parts = pieces.transpose(0, 2, 3, 1, 4), tails.transpose(0, 2, 1, 3)
    return np.concatenate([part.reshape(groups, across, -1) for part in parts], axis=2)


def _tails(type_name: str, rows: U8) -> U8:
    """(tile rows, bytes): the scales of the blocks, where a piece does not hold them."""
    blocks = rows.view(WEIGHT_TYPES[type_name].dtype)
    has_tail = TILES[type_name].tail > 0
    return np.ascontiguousarray(blocks["d"]).view(np.uint8) if has_tail else np.empty((len(rows), 0), np.uint8)


def _pieces(type_name: str, rows: U8) -> U8:
    """(tile rows, pieces, 16) out of decoded codes, elements of a block in order."""
    if type_name not in CODES:
        return rows.reshape(len(rows), -1, PIECE_BYTES)
    decode, offset = CODES[type_name]
    codes = (decode(rows).codes.reshape(len(rows), -1) + np.int8(offset)).view(np.uint8)
    blocks = codes.reshape(len(rows), -1, 2, 16)  # row, block of 32, half, element
    if type_name == "Q8_0":
        return blocks.reshape(len(rows), 8, 16)
    low, upper = blocks & np.uint8(15), blocks >> np.uint8(4)
    nibbles = low[:, :, 0] | (low[:, :, 1] << np.uint8(4))
    match type_name:
        case "Q4_0":
            return nibbles
        case "Q5_0":
            return np.concatenate((nibbles, _fifths(upper)), axis=1)
        case "Q4_K":
            return np.concatenate((rows[:, None, :16], nibbles), axis=1)
        case "Q5_K":
            return np.concatenate((rows[:, None, :16], nibbles, _fifths(upper)), axis=1)
    by_pair = upper.reshape(len(rows), 4, 2, 2, 16)  # row, pair of blocks, block, half, element
    places = np.array([[0, 4], [2, 6]], np.uint8)[..., None]  # of the pair's first and second block, of the two halves
    pairs = (by_pair << places).sum(axis=(2, 3), dtype=np.uint8)
    scales = rows.view(WEIGHT_TYPES["Q6_K"].dtype)["scales"].view(np.uint8)
    return np.concatenate((nibbles, pairs, scales), axis=1)


def _fifths(upper: U8) -> U8:
    by_chunk = upper.reshape(len(upper), -1, 4, 2, 16)  # row, chunk, block, half, element
    bits = np.arange(4, dtype=np.uint8)[:, None]
    fifths: U8 = ((by_chunk[:, :, :, 0] << bits) | (by_chunk[:, :, :, 1] << (bits + 4))).sum(axis=2, dtype=np.uint8)
    return fifths


def _repacked(device: Device, tensor: Tensor, grid_limit: int | None) -> U8:
    stored = device.upload(np.ascontiguousarray(tensor.data), "stored")
    room = room_for(device, tensor, "tiles")
    room.buffer.fill(0xFF)
    stream = device.stream(grid_limit=grid_limit)
    repack(stream, stored, tensor.type, out=room.buffer)
    stream.synchronize()
    tiles = room.buffer.read().view(np.uint8)
    for buffer in (stored, room.buffer):
        device.free(buffer)
    return tiles


def _odd(type_name: str) -> Tensor:
    return weight(type_name, 65, ODD[WEIGHT_TYPES[type_name].block_elements])


@pytest.mark.parametrize("type_name", TILES)
def test_a_tile_takes_no_more_than_the_file(type_name: str) -> None:
    layout, kind = TILES[type_name], WEIGHT_TYPES[type_name]
    assert layout.nbytes == TILE_ROWS * kind.row_bytes(layout.cols)
    assert layout.nbytes % PIECE_BYTES == 0  # every tile starts where 16 bytes can be loaded


@pytest.mark.parametrize("type_name", TILES)
def test_the_definition_keeps_every_bit_and_adds_none(type_name: str) -> None:
    tensor = _odd(type_name)
    ones = Tensor(name="weight", type=type_name, shape=tensor.shape, data=np.full_like(tensor.data, 0xFF))
    assert np.bitwise_count(_tiles(ones)).sum() == 8 * tensor.data.size
    assert np.bitwise_count(_tiles(tensor)).sum() == np.bitwise_count(tensor.data).sum()


@pytest.mark.parametrize(("type_name", "rows", "cols"), CASES)
def test_shapes(device: Device, type_name: str, rows: int, cols: int) -> None:
    tensor = weight(type_name, rows, cols)
    assert_same_integers(_repacked(device, tensor, None), _tiles(tensor), f"{type_name} ({rows}, {cols})")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("type_name", TILES)
def test_grids(device: Device, type_name: str, grid_limit: int | None) -> None:
    tensor = _odd(type_name)
    assert_same_integers(_repacked(device, tensor, grid_limit), _tiles(tensor), type_name)


@pytest.mark.parametrize("type_name", TILES)
def test_schedules(host_variant: HostDevice, type_name: str) -> None:
    tensor = _odd(type_name)
    assert_same_integers(_repacked(host_variant, tensor, 3), _tiles(tensor), type_name)


def test_many_chunks_of_many_matrices(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes are used again and again, by chunks of every type and of unlike sizes; the last one of each is short."""
    monkeypatch.setattr(loading, "LANE_BYTES", 1 << 16)
    tensors = [weight(type_name, rows, 2048) for rows in (1000, 33) for type_name in TILES]
    before = device.used_bytes()
    matrices = [(room_for(device, tensor, f"weight.{i}"), tensor) for i, tensor in enumerate(tensors)]
    taken = device.used_bytes()
    assert sum(len(list(loading.chunks_of(*matrix))) for matrix in matrices) > 10 * loading.LANES
    write_tiles(device, matrices)
    assert device.used_bytes() == taken
    for loaded, tensor in matrices:
        assert_same_integers(loaded.buffer.read(), _tiles(tensor), f"{tensor.type} {tensor.shape}")
        device.free(loaded.buffer)
    assert device.used_bytes() == before


def test_rows_wider_than_a_lane(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LANE_BYTES", 1000)
    tensor = weight("Q8_0", 70, 4096)
    loaded = load_weight(device, tensor, "weight")
    assert_same_integers(loaded.buffer.read(), _tiles(tensor), "wide rows")
    device.free(loaded.buffer)


def test_nothing_to_write(device: Device) -> None:
    before = device.used_bytes()
    write_tiles(device, [])
    assert device.used_bytes() == before


def test_a_failure_on_the_way_gives_the_lanes_back(device: Device) -> None:
    room = room_for(device, weight("Q8_0", 97, 96), "weight")
    before = device.used_bytes()
    with pytest.raises(LaunchError) as caught:
        write_tiles(device, [(room, weight("Q8_0", 97, 160))])
    assert device.used_bytes() == before  # while the error holds on to all that it went through
    assert str(caught.value) == "repack: out is uint8 (4, 1, 4352), expected uint8 (4, 2, 4352)"
    device.free(room.buffer)


def test_no_room_for_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor = weight("Q8_0", 512, 1024)
    monkeypatch.setattr(loading, "LANE_BYTES", 1 << 17)
    small = HostDevice(limit=700_000)
    try:
        with pytest.raises(OutOfMemory, match=r"^[^\n]*staging\.\d[^\n]*$"):
            load_weight(small, tensor, "weight")
        assert small.used_bytes() == 0
    finally:
        small.close()


@pytest.mark.parametrize("type_name", TILES)
def test_the_bytes_told_before_loading_are_the_bytes_taken(device: Device, type_name: str) -> None:
    tensor = weight(type_name, 33, 768)
    info = TensorInfo(name="weight", type=type_name, shape=(33, 768), offset=0, nbytes=tensor.data.nbytes)
    before = device.used_bytes()
    loaded = load_weight(device, tensor, "weight")
    assert device.used_bytes() - before == repacked_bytes(info, device.alignment)
    device.free(loaded.buffer)


def test_a_vector_is_counted_as_float32(device: Device) -> None:
    info = TensorInfo(name="norm", type="F16", shape=(1000,), offset=0, nbytes=2000)
    before = device.used_bytes()
    vector = device.upload(np.zeros(1000, np.float32), "norm")
    assert device.used_bytes() - before == repacked_bytes(info, device.alignment)
    device.free(vector)


def test_wrong_shapes_are_refused_by_name(device: Device) -> None:
    stored = device.upload(np.zeros((33, 68), np.uint8), "stored")
    floats = device.upload(np.zeros((33, 17), np.float32), "stored")
    out = device.alloc((1, 1, TILES["Q8_0"].nbytes), np.uint8, "out")
    with pytest.raises(LaunchError, match=r"repack: out is uint8 \(1, 1, 4352\), expected uint8 \(2, 1, 4352\)"):
        repack(device.stream(), stored, "Q8_0", out=out)
    with pytest.raises(LaunchError, match=r"repack: stored"):
        repack(device.stream(), floats, "Q8_0", out=out)
    for buffer in (stored, floats, out):
        device.free(buffer)
