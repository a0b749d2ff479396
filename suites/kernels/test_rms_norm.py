"""rms_norm on every device against reference/ops/rms_norm.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.rms_norm import rms_norm
from harness.kernel_values import RMS_NORM as SHAPES
from reference.ops import rms_norm as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values

EPS = 1e-6


def _normed(device: Device, x: F32, weight: F32, *, eps: float = EPS, grid_limit: int | None = None) -> F32:
    results = run(
        device,
        {"x": x, "weight": weight},
        {"out": (x.shape, np.float32)},
        lambda stream, b: rms_norm(stream, b["x"], b["weight"], eps=eps, out=b["out"]),
        grid_limit=grid_limit,
    )
    assert_same(results["x"], x, "x afterwards")
    return results["out"]


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(("rows", "dim"), SHAPES)
def test_shapes(device: Device, rows: int, dim: int, grid_limit: int | None) -> None:
    x, weight = values("x", rows, dim), values("weight", dim)
    got = _normed(device, x, weight, grid_limit=grid_limit)
    assert_same(got, oracle.exact(x, weight, eps=EPS), f"rms_norm ({rows}, {dim})")


def test_the_order_of_the_sum(device: Device) -> None:
    """Five blocks a chain; in a single row another order may round to the same scale, in all of many it does not."""
    x, weight = values("x", 24, 5120), values("weight", 5120)
    assert_same(_normed(device, x, weight), oracle.exact(x, weight, eps=EPS), "rms_norm of 24 rows")


@pytest.mark.parametrize("eps", [1e-6, 0.0, 0.5])
@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind, eps: float) -> None:
    x, weight = values("x", 5, 801, kind=kind), values("weight", 801)
    expected = oracle.exact(x, weight, eps=eps)
    assert np.isfinite(expected).all(axis=1).sum() >= (4 if kind.startswith("one") else 5) * (eps > 0)
    assert_same(_normed(device, x, weight, eps=eps), expected, f"rms_norm {kind}, eps {eps}")


def test_a_nan_weight_reaches_its_column_only(device: Device) -> None:
    x, weight = values("x", 3, 300), values("weight", 300)
    weight[17] = np.nan
    got = _normed(device, x, weight)
    assert np.isnan(got[:, 17]).all()
    assert np.isfinite(np.delete(got, 17, axis=1)).all()


def test_a_product_with_the_weight_that_overflows(device: Device) -> None:
    """Infinite where the squares are finite, NaN where they overflow as well: the scale comes last."""
    x, weight = np.full((2, 300), 1e18, np.float32), np.ones(300, np.float32)
    x[1] *= np.float32(100)
    weight[40] = 1e25
    got = _normed(device, x, weight)
    assert_same(got, oracle.exact(x, weight, eps=EPS), "rms_norm past the largest float")
    assert np.isinf(got[0]).sum() == np.isnan(got[1]).sum() == 1


def test_in_place(device: Device) -> None:
    x, weight = values("x", 4, 513), values("weight", 513)
    results = run(
        device,
        {"x": x, "weight": weight},
        {},
        lambda stream, b: rms_norm(stream, b["x"], b["weight"], eps=EPS, out=b["x"]),
    )
    assert_same(results["x"], oracle.exact(x, weight, eps=EPS), "rms_norm in place")


def test_schedules(host_variant: HostDevice) -> None:
    x, weight = values("x", 5, 321), values("weight", 321)
    for limit in GRIDS:
        got = _normed(host_variant, x, weight, grid_limit=limit)
        assert_same(got, oracle.exact(x, weight, eps=EPS), f"rms_norm on {limit} blocks")


def test_a_wrong_weight_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^rms_norm: weight is float32 \(6,\), expected float32 \(5,\)$"):
        _normed(device, values("x", 2, 5), values("weight", 6))
