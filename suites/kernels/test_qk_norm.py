"""qk_norm on every device against reference/ops/qk_norm.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.qk_norm import qk_norm
from harness.kernel_values import QK_NORM as SHAPES
from reference.ops import qk_norm as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values

EPS = 1e-6


def _normed(device: Device, x: F32, weight: F32, *, grid_limit: int | None = None) -> F32:
    results = run(
        device,
        {"x": x, "weight": weight},
        {"out": (x.shape, np.float32)},
        lambda stream, b: qk_norm(stream, b["x"], b["weight"], eps=EPS, out=b["out"]),
        grid_limit=grid_limit,
    )
    return results["out"]


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device: Device, shape: tuple[int, int, int], grid_limit: int | None) -> None:
    x, weight = values("x", *shape), values("weight", shape[2])
    assert_same(_normed(device, x, weight, grid_limit=grid_limit), oracle.exact(x, weight, eps=EPS), f"qk_norm {shape}")


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    x, weight = values("x", 3, 5, 128, kind=kind), values("weight", 128)
    expected = oracle.exact(x, weight, eps=EPS)
    finite = np.isfinite(expected).all(axis=2).sum()
    assert finite == (14 if kind.startswith("one") else 15)
    assert_same(_normed(device, x, weight), expected, f"qk_norm {kind}")


def test_in_place(device: Device) -> None:
    x, weight = values("x", 3, 4, 64), values("weight", 64)
    results = run(
        device,
        {"x": x, "weight": weight},
        {},
        lambda stream, b: qk_norm(stream, b["x"], b["weight"], eps=EPS, out=b["x"]),
    )
    assert_same(results["x"], oracle.exact(x, weight, eps=EPS), "qk_norm in place")


def test_schedules(host_variant: HostDevice) -> None:
    x, weight = values("x", 5, 4, 80), values("weight", 80)
    for limit in GRIDS:
        got = _normed(host_variant, x, weight, grid_limit=limit)
        assert_same(got, oracle.exact(x, weight, eps=EPS), f"qk_norm on {limit} blocks")


def test_a_flat_input_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^qk_norm: x is float32 \(2, 64\), expected float32 \(any, any, any\)$"):
        _normed(device, values("x", 2, 64), values("weight", 64))
