"""embedding on every device against reference/ops/embedding.py, by bits, from the repacked table."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.embedding import embedding
from engine.weights import TILES, load_weight
from reference.ops import embedding as oracle
from reference.spec.layout import WEIGHT_TYPES
from suites.kernels.matmuls import F32, weight
from suites.models import assert_same_bits

WIDTHS = {256: (256, 768, 2304), 32: (32, 96, 704, 2112), 1: (1, 5, 129, 2049)}
CASES = [(name, dim) for name, kind in WEIGHT_TYPES.items() for dim in WIDTHS[kind.block_elements]]
VOCAB = 70
TOKENS = np.array([0, 31, 32, VOCAB - 1, 5, 5, 64], np.int32)


def _embedded(
    device: Device, type_name: str, dim: int, tokens: NDArray[np.int32], grid_limit: int | None = None
) -> F32:
    table = load_weight(device, weight(type_name, VOCAB, dim), "table")
    ids, out = device.upload(tokens, "tokens"), device.alloc((len(tokens), dim), np.float32, "out")
    out.fill(0xFF)
    embedding(device.stream(grid_limit=grid_limit), ids, table, out=out)
    result = out.read().view(np.float32)
    for buffer in (table.buffer, ids, out):
        device.free(buffer)
    return result


def test_every_type_has_a_kernel() -> None:
    assert {name for name, _ in CASES} == set(TILES)


@pytest.mark.parametrize(("type_name", "dim"), CASES)
@pytest.mark.parametrize("grid_limit", [None, 1, 3])
def test_rows(device: Device, type_name: str, dim: int, grid_limit: int | None) -> None:
    expected = oracle.exact(TOKENS, weight(type_name, VOCAB, dim))
    assert_same_bits(_embedded(device, type_name, dim, TOKENS, grid_limit), expected, f"{type_name} {dim}")


@pytest.mark.parametrize("type_name", TILES)
def test_a_token_outside_the_table_gives_a_row_of_nan(device: Device, type_name: str) -> None:
    tokens = np.array([3, -1, VOCAB, 2**31 - 1, -(2**31), 4], np.int32)
    rows = _embedded(device, type_name, 256, tokens)
    expected = oracle.exact(tokens[[0, 5]], weight(type_name, VOCAB, 256))
    assert np.isnan(rows[1:5]).all()
    assert_same_bits(rows[[0, 5]], expected, type_name)


@pytest.mark.parametrize("type_name", ["F16", "Q5_0", "Q6_K"])
def test_schedules(host_variant: HostDevice, type_name: str) -> None:
    expected = oracle.exact(TOKENS, weight(type_name, VOCAB, 2304))
    assert_same_bits(_embedded(host_variant, type_name, 2304, TOKENS), expected, type_name)


def test_wrong_shapes_are_refused_by_name(device: Device) -> None:
    table = load_weight(device, weight("Q8_0", VOCAB, 64), "table")
    out = device.alloc((2, 64), np.float32, "out")
    three, floats = device.upload(np.zeros(3, np.int32), "tokens"), device.upload(np.zeros(2, np.float32), "tokens")
    with pytest.raises(LaunchError, match=r"embedding: out"):
        embedding(device.stream(), three, table, out=out)
    with pytest.raises(LaunchError, match=r"embedding: tokens"):
        embedding(device.stream(), floats, table, out=out)
