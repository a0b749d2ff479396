"""rope on every device against reference/ops/rope.py, by bits, with tables of random angles."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.rope import rope
from harness.kernel_values import ROPE as SHAPES
from harness.kernel_values import rope_tables
from reference.ops import rope as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values


def _rotated(device: Device, x: F32, cos: F32, sin: F32, position: int, *, grid_limit: int | None = None) -> F32:
    results = run(
        device,
        {"x": x, "cos": cos, "sin": sin, "position": np.array([position], np.int32)},
        {},
        lambda stream, b: rope(stream, b["x"], b["cos"], b["sin"], b["position"]),
        grid_limit=grid_limit,
    )
    return results["x"]


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device: Device, shape: tuple[int, int, int, int, int], grid_limit: int | None) -> None:
    rows, heads, head_dim, n_rot, position = shape
    x = values("x", rows, heads, head_dim)
    cos, sin = rope_tables(position + rows, n_rot // 2)
    expected = oracle.exact(x, cos, sin, position)
    assert_same(_rotated(device, x, cos, sin, position, grid_limit=grid_limit), expected, f"rope {shape}")


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    """A NaN or an infinity stays within its pair."""
    x = values("x", 3, 5, 80, kind=kind)
    cos, sin = rope_tables(20, 40)
    expected = oracle.exact(x, cos, sin, 11)
    assert np.isfinite(expected).sum() == expected.size - 2 * kind.startswith("one")
    assert_same(_rotated(device, x, cos, sin, 11), expected, f"rope {kind}")


def test_a_row_of_a_batch_is_the_row_alone(device: Device) -> None:
    x = values("x", 9, 4, 64)
    cos, sin = rope_tables(40, 32)
    together = _rotated(device, x, cos, sin, 30)
    for row in range(len(x)):
        assert_same(_rotated(device, x[row : row + 1], cos, sin, 30 + row), together[row : row + 1], f"rope row {row}")


def test_rows_past_the_tables_stay(device: Device) -> None:
    x = values("x", 5, 2, 64)
    cos, sin = rope_tables(12, 32)
    got = _rotated(device, x, cos, sin, 9)
    assert_same(got[:3], oracle.exact(x[:3], cos, sin, 9), "rope rows within")
    assert_same(got[3:], x[3:], "rope rows past the tables")
    assert_same(_rotated(device, x, cos, sin, -7), x, "rope rows before the tables")


def test_schedules(host_variant: HostDevice) -> None:
    x = values("x", 5, 3, 96)
    cos, sin = rope_tables(50, 48)
    for limit in GRIDS:
        got = _rotated(host_variant, x, cos, sin, 41, grid_limit=limit)
        assert_same(got, oracle.exact(x, cos, sin, 41), f"rope on {limit} blocks")


def test_tables_wider_than_a_head_are_refused(device: Device) -> None:
    cos, sin = rope_tables(4, 17)
    with pytest.raises(LaunchError, match=r"^rope: the tables turn 34 values of a head, expected at most 32$"):
        _rotated(device, values("x", 1, 1, 32), cos, sin, 0)
