"""argmax on every device against reference/ops/argmax.py."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.argmax import argmax, parts
from reference.ops import argmax as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values

SIZES = (1, 2, 3, 31, 32, 33, 255, 256, 257, 1000, 4095, 4096, 4097, 65536, 152064, 262144)


def _chosen(device: Device, logits: F32, *, grid_limit: int | None = None) -> NDArray[np.int32]:
    results = run(
        device,
        {"logits": logits, "arrivals": np.zeros(len(logits), np.int32)},
        {"out": ((len(logits),), np.int32), "scratch": ((len(logits), parts(logits.shape[1])), np.int64)},
        lambda stream, b: argmax(stream, b["logits"], scratch=b["scratch"], arrivals=b["arrivals"], out=b["out"]),
        grid_limit=grid_limit,
    )
    return results["out"]


@pytest.mark.parametrize("n", SIZES)
def test_the_maximum_wherever_it_stands(device: Device, n: int) -> None:
    """The maximum at the start, in the middle, at the end; ties; all equal; all negative; NaN; infinities."""
    places = sorted({0, n // 2, n - 1})
    rows, expected = [], []

    def case(row: F32, index: int) -> None:
        rows.append(row)
        expected.append(index)

    for at in places:
        row = values("logits", n)
        row[at] = 9
        case(row, at)
        case(row - np.float32(20), at)  # all negative
        tied = row.copy()
        tied[places[-1]] = 9
        case(tied, at)
        with_nan = tied.copy()
        with_nan[at] = np.nan
        with_nan[0 if at else -1] = np.inf if n > 1 else np.nan
        case(with_nan, at)
        row = values("logits", n)
        row[at] = np.inf
        case(row, at)
    case(np.full(n, 2.5, np.float32), 0)
    case(np.full(n, np.nan, np.float32), 0)
    case(np.full(n, -np.inf, np.float32), 0)
    case(np.where(np.arange(n) % 2 == 0, np.float32(-0.0), np.float32(0)), 0)  # -0 and +0 are equal
    logits = np.stack(rows).astype(np.float32)
    wanted = np.array(expected, np.int32)
    assert_same(oracle.exact(logits), wanted, "the oracle")
    assert_same(_chosen(device, logits), wanted, f"argmax of {n}")


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 17])
@pytest.mark.parametrize("grid_limit", GRIDS)
def test_rows(device: Device, rows: int, grid_limit: int | None) -> None:
    logits = values("logits", rows, 9001)
    assert_same(_chosen(device, logits, grid_limit=grid_limit), oracle.exact(logits), f"argmax of {rows} rows")


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    logits = values("logits", 5, 2000, kind=kind)
    assert_same(_chosen(device, logits), oracle.exact(logits), f"argmax {kind}")


def test_the_sign_of_a_nan_does_not_matter(device: Device) -> None:
    logits = values("logits", 1, 100)
    logits.view(np.uint32)[0, [30, 60]] = 0xFFC00001, 0x7F800001
    assert _chosen(device, logits).tolist() == [30]


def test_schedules(host_variant: HostDevice) -> None:
    logits = values("logits", 5, 4500).round(1)  # many ties
    for limit in GRIDS:
        assert_same(_chosen(host_variant, logits, grid_limit=limit), oracle.exact(logits), f"argmax on {limit} blocks")


def test_buffers_of_another_length_are_refused(device: Device) -> None:
    logits, out = device.upload(values("logits", 3, 5), "logits"), device.alloc((2,), np.int32, "out")
    scratch = device.alloc((3, 1), np.int64, "scratch")
    with pytest.raises(LaunchError, match=r"^argmax: out is int32 \(2,\), expected int32 \(3,\)$"):
        argmax(device.stream(), logits, scratch=scratch, arrivals=out, out=out)
    with pytest.raises(LaunchError, match=r"^argmax: arrivals is int32 \(2,\), expected at least 3 int32 values$"):
        argmax(device.stream(), logits, scratch=scratch, arrivals=out, out=device.alloc((3,), np.int32, "out"))
