"""swiglu, and exp32 within it, on every device against reference/ops/swiglu.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.swiglu import swiglu
from harness.kernel_values import SWIGLU as SHAPES
from reference.ops import swiglu as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, generator, run, values


def _swiglu(device: Device, gate: F32, up: F32, *, grid_limit: int | None = None) -> F32:
    results = run(
        device,
        {"gate": gate, "up": up},
        {"out": (gate.shape, np.float32)},
        lambda stream, b: swiglu(stream, b["gate"], b["up"], out=b["out"]),
        grid_limit=grid_limit,
    )
    return results["out"]


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(("rows", "ff"), SHAPES)
def test_shapes(device: Device, rows: int, ff: int, grid_limit: int | None) -> None:
    gate, up = values("gate", rows, ff) * np.float32(8), values("up", rows, ff)
    assert_same(_swiglu(device, gate, up, grid_limit=grid_limit), oracle.exact(gate, up), f"swiglu ({rows}, {ff})")


@pytest.mark.parametrize("kind_up", KINDS)
@pytest.mark.parametrize("kind_gate", KINDS)
def test_values(device: Device, kind_gate: Kind, kind_up: Kind) -> None:
    gate, up = values("gate", 3, 331, kind=kind_gate), values("up", 3, 331, kind=kind_up)
    expected = oracle.exact(gate, up)
    assert np.isnan(expected[np.isnan(gate) | np.isnan(up)]).all()
    assert_same(_swiglu(device, gate, up), expected, f"swiglu {kind_gate} and {kind_up}")


def test_every_exponent_of_the_gate(device: Device) -> None:
    """Random bit patterns of all magnitudes, and the places where exp32 changes its branch."""
    patterns = generator("patterns").integers(0, 2**32, 40000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    edges = np.array([0, 87, 88, 0.34657359, 1.0397208], np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(1e9)), np.nextafter(edges, np.float32(-1e9))])
    dense = np.linspace(-95, 95, 60001, dtype=np.float32)
    special = np.array([np.inf, -np.inf, np.nan, -0.0], np.float32)
    gate = np.concatenate([patterns, edges, -edges, dense, special])[None]
    up = np.full_like(gate, np.float32(1.5))
    assert_same(_swiglu(device, gate, up), oracle.exact(gate, up), "swiglu")


@pytest.mark.parametrize("target", ["gate", "up"])
def test_in_place(device: Device, target: str) -> None:
    gate, up = values("gate", 5, 1100), values("up", 5, 1100)
    results = run(
        device, {"gate": gate, "up": up}, {}, lambda stream, b: swiglu(stream, b["gate"], b["up"], out=b[target])
    )
    assert_same(results[target], oracle.exact(gate, up), f"swiglu into {target}")


def test_schedules(host_variant: HostDevice) -> None:
    gate, up = values("gate", 7, 1030), values("up", 7, 1030)
    for limit in GRIDS:
        got = _swiglu(host_variant, gate, up, grid_limit=limit)
        assert_same(got, oracle.exact(gate, up), f"swiglu on {limit} blocks")


def test_a_narrower_up_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^swiglu: up is float32 \(2, 4\), expected float32 \(2, 5\)$"):
        _swiglu(device, values("gate", 2, 5), values("up", 2, 4))
