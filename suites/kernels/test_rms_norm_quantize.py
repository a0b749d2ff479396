"""rms_norm_quantize on every device against reference/ops/rms_norm_quantize.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.rms_norm_quantize import MANY, rms_norm_quantize
from reference.ops import rms_norm_quantize as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, run, values
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of

EPS = 1e-6
SHAPES = ((1, 32), (1, 4096), (3, 96), (2, 704), (5, 288), (2, 4128), (1, 8224), (3, 12288))


def _check(device: Device, x: F32, weight: F32, *, grid_limit: int | None = None) -> None:
    results = run(
        device,
        {"x": x, "weight": weight},
        outputs(*x.shape),
        lambda stream, b: rms_norm_quantize(stream, b["x"], b["weight"], eps=EPS, out=rows_of(b)),
        grid_limit=grid_limit,
    )
    assert_same_quantized(results, oracle.exact(x, weight, eps=EPS), f"rms_norm_quantize {x.shape}")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device: Device, shape: tuple[int, int], grid_limit: int | None) -> None:
    _check(device, values("x", *shape), values("weight", shape[1]), grid_limit=grid_limit)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("shape", [(MANY, 32), (MANY + 1, 1056), (MANY, 4128)], ids=str)
def test_many_rows(device: Device, shape: tuple[int, int], grid_limit: int | None) -> None:
    _check(device, values("x", *shape), values("weight", shape[1]), grid_limit=grid_limit)


def test_the_order_of_the_sum(device: Device) -> None:
    """Five blocks a chain; in a single row another order may round to the same scale, in all of many it does not."""
    _check(device, values("x", 24, 5120), values("weight", 5120))


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_many_rows(device: Device, kind: Kind) -> None:
    _check(device, values("x", MANY, 352, kind=kind), values("weight", 352))


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    _check(device, values("x", 3, 352, kind=kind), values("weight", 352))


def test_what_overflows(device: Device) -> None:
    """The squares of a row, its product with a weight, both, and only the sums of its codes."""
    x, weight = np.ones((4, 352), np.float32), np.ones(352, np.float32)
    weight[40] = 1e25
    x *= np.array([[1e20], [1e18], [1e15], [1]], np.float32)
    x[3, 64:96] = np.finfo(np.float32).max
    _check(device, x, weight)


@pytest.mark.parametrize("rows", [3, MANY])
def test_schedules(host_variant: HostDevice, rows: int) -> None:
    _check(host_variant, values("x", rows, 288), values("weight", 288), grid_limit=2)


def test_an_odd_width_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^rms_norm_quantize: x has 33 columns, expected a multiple of 32$"):
        _check(device, values("x", 1, 33), values("weight", 33))
