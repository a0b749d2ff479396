"""advance on every device against reference/ops/advance.py."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.advance import advance
from reference.ops import advance as oracle
from suites.kernels.cases import GRIDS, assert_same, run

State = dict[str, NDArray[np.int32]]


def _state(*, token: int, position: int, count: int, capacity: int) -> State:
    return {
        "next_token": np.array([token], np.int32),
        "token": np.array([7, 8, 9], np.int32),  # only the first is to change
        "position": np.array([position], np.int32),
        "tokens_out": np.arange(-1, -1 - capacity, -1, dtype=np.int32),
        "count": np.array([count], np.int32),
    }


def _advanced(device: Device, state: State, *, steps: int = 1, grid_limit: int | None = None) -> State:
    def step(stream, b) -> None:  # type: ignore[no-untyped-def]
        for _ in range(steps):
            outputs = {name: b[name] for name in ("token", "position", "tokens_out", "count")}
            advance(stream, b["next_token"], **outputs)

    return run(device, state, {}, step, grid_limit=grid_limit)


def _check(device: Device, state: State, *, steps: int = 1, grid_limit: int | None = None) -> None:
    expected = {name: array.copy() for name, array in state.items()}
    for _ in range(steps):
        oracle.exact(
            expected["next_token"],
            token=expected["token"],
            position=expected["position"],
            tokens_out=expected["tokens_out"],
            count=expected["count"],
        )
    got = _advanced(device, state, steps=steps, grid_limit=grid_limit)
    for name, array in expected.items():
        assert_same(got[name], array, f"advance, {name}")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("count", [0, 3, 4])
def test_one_step(device: Device, count: int, grid_limit: int | None) -> None:
    _check(device, _state(token=151_643, position=40_959, count=count, capacity=5), grid_limit=grid_limit)


def test_a_full_list_is_left_as_it_is(device: Device) -> None:
    """The list has room for two; count and position go on."""
    _check(device, _state(token=11, position=0, count=0, capacity=2), steps=4)


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, _state(token=3, position=17, count=1, capacity=9), steps=3)


def test_a_float_position_is_refused(device: Device) -> None:
    state = _state(token=1, position=0, count=0, capacity=1)
    wrong = {**state, "position": np.zeros(1, np.float32)}
    with pytest.raises(LaunchError, match=r"^advance: position is float32 \(1,\), expected int32 \(1,\)$"):
        _advanced(device, wrong)  # type: ignore[arg-type]
