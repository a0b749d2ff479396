"""quantize on every device against reference/ops/quantize.py: codes, scales, sums and pads, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.quantize import Quantized, padded, quantize
from reference.ops import quantize as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values
from suites.kernels.quantized import rows_of

SHAPES = ((1, 32), (3, 64), (2, 96), (5, 128), (17, 160), (1, 704), (7, 1024), (3, 2112), (65, 256), (2, 4096))


def _check(device: Device, x: F32, what: str, *, grid_limit: int | None = None) -> oracle.Quantized:
    rows, cols = x.shape
    width = padded(cols)
    results = run(
        device,
        {"x": x},
        {
            "codes": ((rows, width), np.int8),
            "scales": ((rows, width // 32), np.float32),
            "sums": ((rows, width // 32), np.float32),
        },
        lambda stream, b: quantize(stream, b["x"], out=rows_of(b)),
        grid_limit=grid_limit,
    )
    expected = oracle.exact(x)
    pads, block_pads = ((0, 0), (0, width - cols)), ((0, 0), (0, (width - cols) // 32))
    assert_same(results["codes"], np.pad(expected.codes, pads), f"{what}, codes")
    assert_same(results["scales"], np.pad(expected.scales, block_pads), f"{what}, scales")
    assert_same(results["sums"], np.pad(expected.sums, block_pads), f"{what}, sums")
    return expected


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_shapes(device: Device, rows: int, cols: int, grid_limit: int | None) -> None:
    _check(device, values("x", rows, cols), f"quantize ({rows}, {cols})", grid_limit=grid_limit)


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    expected = _check(device, values("x", 5, 736, kind=kind), f"quantize {kind}")
    assert np.isfinite(expected.sums).sum() == expected.sums.size - kind.startswith("one")


def test_ties_round_to_even(device: Device) -> None:
    """With a largest value of 127 the scale is 1: halves stand exactly between two codes."""
    x = (np.arange(64, dtype=np.float32).reshape(2, 32) - 31.5) * np.float32(3)
    x[:, 7] = 127
    expected = _check(device, x, "quantize halves")
    assert expected.codes[0, 0] == -94  # -94.5
    assert expected.codes[0, 2] == -88  # -88.5


def test_beside_halves(device: Device) -> None:
    """Values within a few units in the last place of a half of their scale, whatever the scale."""
    rng = np.random.default_rng(5)
    top = (rng.uniform(1, 2, (400, 1)) * 2.0 ** rng.integers(-90, 90, (400, 1))).astype(np.float32)
    scale = (top / np.float32(127)).astype(np.float64)
    halves = ((rng.integers(-127, 127, (400, 32)) + 0.5) * scale).astype(np.float32)
    x = (halves.view(np.int32) + rng.integers(-3, 4, halves.shape, dtype=np.int32)).view(np.float32)
    x[:, 9:10] = top
    _check(device, x, "quantize beside halves")


@pytest.mark.parametrize("top", [1, 62, 63, 64, 65, 95, 126, 127, 190, 191, 2**20])
def test_the_smallest_scales(device: Device, top: int) -> None:
    """Subnormal maxima, in units of 2^-149: the scale is 0 up to 63 of them, and may ask for a code past 127."""
    x = np.zeros((1, 32), np.float32)
    x[0, :5] = np.array([top, -top, top // 2, 1, 0]) * np.float64(2.0**-149)
    expected = _check(device, x, f"quantize {top} * 2^-149")
    assert (expected.scales[0, 0] == 0) == (top <= 63)
    if top == 190:
        assert expected.codes[0, 0] == 127  # 190 / 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("at", [0, 31, 32, 127, 128, 191])
def test_a_nan_or_infinity_spoils_its_block_only(device: Device, at: int, bad: float) -> None:
    x = values("x", 2, 192)
    x[1, at] = bad
    expected = _check(device, x, f"quantize {bad} at {at}")
    assert np.argwhere(~np.isfinite(expected.scales)).tolist() == [[1, at // 32]]


def test_a_nan_wins_over_infinity(device: Device) -> None:
    x = values("x", 1, 32)
    x[0, 3], x[0, 20] = np.inf, np.nan
    assert np.isnan(_check(device, x, "quantize NaN and infinity").scales).all()


def test_schedules(host_variant: HostDevice) -> None:
    for limit in GRIDS:
        _check(host_variant, values("x", 9, 224), f"quantize on {limit} blocks", grid_limit=limit)


def test_half_a_block_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^quantize: x has 40 columns, expected a multiple of 32$"):
        _check(device, values("x", 1, 40), "quantize")


def test_a_view_takes_the_start_of_the_memory(device: Device) -> None:
    whole = Quantized(
        codes=device.alloc((4, 256), np.int8, "codes"),
        scales=device.alloc((4, 8), np.float32, "scales"),
        sums=device.alloc((4, 8), np.float32, "sums"),
    )
    view = whole.view(3, 128)
    assert (view.codes.shape, view.scales.shape, view.sums.shape) == ((3, 128), (3, 4), (3, 4))
    assert (view.codes.ptr, view.scales.ptr, view.sums.ptr) == (whole.codes.ptr, whole.scales.ptr, whole.sums.ptr)
    with pytest.raises(IndexError):
        whole.view(9, 128)
    for buffer in (whole.codes, whole.scales, whole.sums):
        device.free(buffer)
