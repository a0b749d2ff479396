"""swiglu_quantize on every device against reference/ops/swiglu_quantize.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.quantize import MANY
from engine.ops.swiglu_quantize import swiglu_quantize
from reference.ops import swiglu_quantize as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, run, values
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of

SHAPES = ((1, 32), (1, 4096), (3, 96), (2, 704), (5, 288), (19, 1056), (3, 12288))


def _check(device: Device, gate: F32, up: F32, *, grid_limit: int | None = None) -> None:
    results = run(
        device,
        {"gate": gate, "up": up},
        outputs(*gate.shape),
        lambda stream, b: swiglu_quantize(stream, b["gate"], b["up"], out=rows_of(b)),
        grid_limit=grid_limit,
    )
    assert_same_quantized(results, oracle.exact(gate, up), f"swiglu_quantize {gate.shape}")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device: Device, shape: tuple[int, int], grid_limit: int | None) -> None:
    _check(device, values("gate", *shape) * np.float32(8), values("up", *shape), grid_limit=grid_limit)


def test_warps_that_take_several_chunks(device: Device) -> None:
    rows = MANY // 8 + 1
    _check(device, values("gate", rows, 992), values("up", rows, 992))


@pytest.mark.parametrize("kind_up", KINDS)
@pytest.mark.parametrize("kind_gate", KINDS)
def test_values(device: Device, kind_gate: Kind, kind_up: Kind) -> None:
    _check(device, values("gate", 3, 352, kind=kind_gate), values("up", 3, 352, kind=kind_up))


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, values("gate", 3, 288), values("up", 3, 288), grid_limit=2)


def test_an_odd_width_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^swiglu_quantize: gate has 33 columns, expected a multiple of 32$"):
        _check(device, values("gate", 1, 33), values("up", 1, 33))


def test_a_narrower_up_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^swiglu_quantize: up is float32 \(2, 32\), expected float32 \(2, 64\)$"):
        _check(device, values("gate", 2, 64), values("up", 2, 32))
