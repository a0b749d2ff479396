"""Whether the machine moved between the arms: by hand, by simulation, and on what canaries of H200s really did."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.canary_rule import Floats, canary_moved, canary_shift, in_another_state
from harness.noise_model import Noise
from harness.simulate import canary_alarms
from harness.statistics import Policy
from suites.harness.test_gate_statistics import least, most

POLICY = Policy()
RECORDED = Path(__file__).parent / "recorded" / "h200_canaries.json"  # us, a list for each GPU
TRIALS = 4000
QUIET = 0.0005 * np.array([0.3, -1.1, 0.8, -0.2, 1.3, -0.7, 0.1, -0.5])  # log times of eight processes


def moved(base: Floats, head: Floats, policy: Policy = POLICY) -> bool:
    return bool(canary_moved(base[None], head[None], policy)[0])


def drawn(name: str, pairs: int, shift: float) -> tuple[Floats, Floats]:
    """Runs on one of the GPUs each, whose processes are drawn from those that it had; head slower by `shift`."""
    rng = np.random.default_rng([pairs, len(name)])
    gpus = [np.log(medians) for medians in json.loads(RECORDED.read_text())[name]]
    runs = np.concatenate([rng.choice(logs, (TRIALS * len(logs) // sum(map(len, gpus)), 2, pairs)) for logs in gpus])
    return runs[:, 0], runs[:, 1] + math.log1p(shift)


@pytest.mark.parametrize("shift", [0.008, -0.008])
def test_a_shift_of_every_process_has_moved(shift: float) -> None:
    assert moved(QUIET[:4], QUIET[4:] + shift)
    assert not moved(QUIET[:4], QUIET[4:] + 0.75 * shift)
    assert moved(QUIET[:4], QUIET[4:] + 0.3 * shift, replace(POLICY, canary=0.001))


@pytest.mark.parametrize(("slow", "expected"), [(1, False), (3, False), (4, True)])
def test_what_slows_some_processes_of_four_is_no_change_between_the_arms(slow: int, expected: bool) -> None:
    state = np.where(np.arange(4) < slow, 0.27, 0.0)
    assert moved(QUIET[:4], QUIET[4:] + state) is expected
    assert moved(QUIET[:4] + state, QUIET[4:]) is expected
    assert not moved(QUIET[:4] + state, QUIET[4:] + state)


@pytest.mark.parametrize(("slow", "expected"), [(4, False), (10, True), (12, True)])
def test_what_slows_most_of_an_arm_and_none_of_the_other_has_moved(slow: int, expected: bool) -> None:
    """The fastest process is as fast as ever; the ranks show it."""
    base, head = np.tile(QUIET, 2), np.tile(-QUIET, 2)
    assert moved(base, head + np.where(np.arange(16) < slow, 0.05, 0.0)) is expected
    assert not moved(base, head + np.where(np.arange(16) < slow, 0.003, 0.0))


def test_a_time_that_is_none_has_moved() -> None:
    assert moved(QUIET[:4], np.array([0.0, 0.0, 0.0, math.nan]))


def test_a_shift_is_the_middle_of_all_ratios_and_has_an_interval() -> None:
    middle, low, high = canary_shift(QUIET[:4], QUIET[4:] + 0.01)
    differences = np.subtract.outer(QUIET[4:] + 0.01, QUIET[:4])
    assert (middle, low, high) == (np.median(differences), differences.min(), differences.max())
    middle, low, high = canary_shift(np.tile(QUIET, 4), np.tile(QUIET, 4) + 0.01)
    assert 0.009 < low < middle < high < 0.011
    assert canary_shift(np.zeros(4), np.array([0.0, 0.0, 0.3, 0.3]))[0] == pytest.approx(0.15)


def test_the_interval_holds_what_is_true_in_at_least_95_percent() -> None:
    rng = np.random.default_rng(0)
    for processes in (4, 8, 16):
        found = [canary_shift(*rng.standard_normal((2, processes))) for _ in range(1000)]
        assert sum(low <= 0 <= high for _, low, high in found) >= least(0.95, 1000)


def test_processes_in_another_state_are_counted() -> None:
    assert in_another_state(QUIET, QUIET) == 0
    assert in_another_state(QUIET[:4] + np.array([0.27, 0, 0, 0]), QUIET[4:] + np.array([0.06, 0.27, 0, 0])) == 3


@pytest.mark.parametrize(("pairs", "rate"), [(4, 0.01), (8, 0.003), (16, 0.001)])
def test_the_canaries_of_h200s_at_rest_stop_few_gates(pairs: int, rate: float) -> None:
    alarms = sum(np.count_nonzero(canary_moved(*drawn(name, pairs, 0.0), POLICY)) for name in ("copy", "matvec"))
    graph = np.count_nonzero(canary_moved(*drawn("empty_graph", pairs, 0.0), POLICY))
    assert alarms + graph <= most(rate, TRIALS)


@pytest.mark.parametrize("name", ["copy", "matvec", "empty_graph"])
@pytest.mark.parametrize(("shift", "pairs", "power"), [(0.01, 4, 0.9), (0.01, 8, 0.97), (0.02, 4, 0.99)])
def test_a_real_shift_is_seen_through_what_the_canaries_of_h200s_do(
    name: str, shift: float, pairs: int, power: float
) -> None:
    base, head = drawn(name, pairs, shift)
    assert np.count_nonzero(canary_moved(base, head, POLICY)) >= least(power, len(base))
    assert np.count_nonzero(canary_moved(head, base, POLICY)) >= least(power, len(base))


def test_canaries_at_rest_move_only_where_they_are_noisy() -> None:
    def alarms(process: float, shift: float = 0.0) -> float:
        return canary_alarms(Noise(process=process), shift=shift, trials=TRIALS, pairs=4, policy=POLICY)

    assert alarms(0.002) <= most(0.001, TRIALS) / TRIALS
    assert alarms(0.007) > 0.05
    assert alarms(0.002, shift=0.02) >= least(0.999, TRIALS) / TRIALS


def test_a_mean_would_stop_gates_where_single_processes_are_slow() -> None:
    """What the rule is for: the simulation has to show the fault of a simpler one."""
    base, head = drawn("empty_graph", 8, 0.0)
    by_mean = np.abs((head - base).mean(axis=1)) > math.log1p(POLICY.canary)
    assert np.count_nonzero(by_mean) > 0.4 * len(base)
