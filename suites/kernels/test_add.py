"""add on every device against reference/ops/add.py, by bits: the residual and the bias."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.add import add
from reference.ops import add as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values

SHAPES = ((1, 1), (3, 5), (17, 33), (2, 255), (5, 1024), (3, 1025), (64, 257), (1, 5120), (33, 2049))


def _sum(device: Device, x: F32, y: F32, *, grid_limit: int | None = None) -> F32:
    results = run(
        device,
        {"x": x, "y": y},
        {"out": (x.shape, np.float32)},
        lambda stream, b: add(stream, b["x"], b["y"], out=b["out"]),
        grid_limit=grid_limit,
    )
    return results["out"]


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("rows", "dim"), SHAPES)
def test_shapes(device: Device, rows: int, dim: int, bias: bool, grid_limit: int | None) -> None:
    x = values("x", rows, dim)
    y = values("bias", dim) if bias else values("y", rows, dim)
    assert_same(_sum(device, x, y, grid_limit=grid_limit), oracle.exact(x, y), f"add ({rows}, {dim})")


@pytest.mark.parametrize("kind_y", KINDS)
@pytest.mark.parametrize("kind_x", KINDS)
def test_values(device: Device, kind_x: Kind, kind_y: Kind) -> None:
    x, y = values("x", 3, 331, kind=kind_x), values("y", 3, 331, kind=kind_y)
    expected = oracle.exact(x, y)
    assert np.array_equal(np.isfinite(expected), np.isfinite(x) & np.isfinite(y))
    assert_same(_sum(device, x, y), expected, f"add {kind_x} and {kind_y}")


def test_special_values(device: Device) -> None:
    """Signed zeros, infinities of both signs, overflow, a sum that is subnormal."""
    special = np.array([0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 2**-126, -(2**-126) * 0.75], np.float32)
    x, y = (np.ascontiguousarray(z, np.float32) for z in np.meshgrid(special, special))
    with np.errstate(all="ignore"):
        assert_same(_sum(device, x, y), oracle.exact(x, y), "add")


@pytest.mark.parametrize("target", ["x", "y"])
def test_in_place(device: Device, target: str) -> None:
    x, y = values("x", 5, 1100), values("y", 5, 1100)
    results = run(device, {"x": x, "y": y}, {}, lambda stream, b: add(stream, b["x"], b["y"], out=b[target]))
    assert_same(results[target], oracle.exact(x, y), f"add into {target}")


def test_schedules(host_variant: HostDevice) -> None:
    x, bias = values("x", 7, 1030), values("bias", 1030)
    for limit in GRIDS:
        assert_same(_sum(host_variant, x, bias, grid_limit=limit), oracle.exact(x, bias), f"add on {limit} blocks")


def test_a_bias_of_another_width_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^add: y is float32 \(4,\), expected float32 \(5,\)$"):
        _sum(device, values("x", 2, 5), values("y", 4))
