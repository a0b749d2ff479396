"""The rule of the gate keeps its stated error rates; by simulation, with seeds, and a simulation that can fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.calibration import tables
from harness.gate.pairs import order
from harness.noise_model import Noise, Order, places
from harness.policy import policy_text
from harness.simulate import Rates, gate_rates, one_process_alarms, paired_alarms
from harness.statistics import Policy

POLICY = Policy()
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "gate.md"
NORMAL = Noise()  # process noise 0.7 %
SURE = 1e-6  # chance that a bound below fails although the stated rate holds


def most(rate: float, trials: int) -> int:
    """Of a count whose rate is at most this."""
    return int(stats.binom.isf(SURE, trials, rate))


def least(rate: float, trials: int) -> int:
    return int(stats.binom.ppf(SURE, trials, rate))


def rates(noise: Noise, slowdown: float, trials: int = 4000, policy: Policy = POLICY) -> Rates:
    return gate_rates(noise, slowdown=slowdown, trials=trials, policy=policy, seed=20)


@pytest.mark.parametrize("process", [0.003, 0.007, 0.012])
def test_a_change_that_costs_nothing_is_not_called_slower(process: float) -> None:
    found = rates(Noise(process=process), 0.0)
    assert found.slower <= most(0.001, found.trials)
    assert found.confirmed == 0
    assert found.same >= least(0.999, found.trials)


def test_a_slowdown_of_3_percent_is_seen() -> None:
    found = rates(NORMAL, 0.03)
    assert found.slower >= least(0.99, found.trials)
    assert found.confirmed >= least(0.99, found.trials)


@pytest.mark.parametrize(("slowdown", "passes"), [(0.025, 1 / 11), (0.02, 1 / 2)])
def test_what_the_gate_does_not_see_is_what_its_documentation_says(slowdown: float, passes: float) -> None:
    found = rates(NORMAL, slowdown)
    assert least(0.9 * passes, found.trials) <= found.same <= most(1.1 * passes, found.trials)


@pytest.mark.parametrize(("slowdown", "low", "high"), [(0.0, 4.0, 4.8), (0.02, 6.5, 8.0), (0.05, 4.5, 5.5)])
def test_pairs_are_spent_where_the_answer_is_close(slowdown: float, low: float, high: float) -> None:
    assert low <= rates(NORMAL, slowdown).mean_pairs <= high


def test_confirmation_removes_false_alarms_and_keeps_slowdowns() -> None:
    eager = replace(POLICY, slower_alpha=0.05, floor=0.005)
    found = rates(NORMAL, 0.0, policy=eager)
    assert found.slower > 60
    assert found.confirmed < found.slower / 20
    real = rates(NORMAL, 0.03)
    assert real.confirmed > 0.99 * real.slower


@pytest.mark.parametrize(
    "noise",
    [Noise(tail=3), Noise(correlation=0.5), Noise(correlation=-0.5), Noise(blips=0.1, blip=0.5), Noise(drift=0.1)],
    ids=["heavy tails", "correlated", "anticorrelated", "blips", "drift"],
)
def test_the_rates_hold_for_noise_that_is_not_as_assumed(noise: Noise) -> None:
    still, slow = rates(noise, 0.0), rates(noise, 0.03)
    assert still.slower <= most(0.001, still.trials)
    assert slow.slower >= least(0.98, slow.trials)


def test_noise_beyond_the_gate_ends_in_cannot_tell_and_not_in_false_alarms() -> None:
    found = rates(Noise(process=0.03), 0.0)
    assert found.cannot_tell > found.trials / 4
    assert found.slower <= most(0.005, found.trials)


def test_a_test_on_samples_of_one_process_shows_its_false_alarms() -> None:
    assert one_process_alarms(NORMAL, trials=1000, alpha=0.001) > 0.05
    quiet = Noise(process=0.0, blips=0.0, host=0.0, drift=0.0)
    assert one_process_alarms(quiet, trials=1000, alpha=0.001) < 0.01  # it is the process that does it


def test_base_before_head_shows_its_false_alarms() -> None:
    def alarms(noise: Noise, order: Order) -> float:
        return paired_alarms(noise, trials=2000, pairs=16, alpha=0.05, order=order)

    drifting = Noise(drift=0.02)
    assert alarms(drifting, "base then head") > 0.2
    assert alarms(drifting, "abba") <= most(0.05, 2000) / 2000
    assert alarms(Noise(drift=0.0), "base then head") <= most(0.05, 2000) / 2000  # it is the drift that does it


def test_the_simulated_order_is_the_one_that_is_measured() -> None:
    measured = [side for pair in range(16) for side in order(pair)]
    assert places(16, "abba").tolist() == [place for place, side in enumerate(measured) if side == "base"]


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_stated_rates_over_many_trials(seed: int) -> None:
    """Under 0.1 % false alarms a row by a wide margin, and at least 99 % power, before and after confirmation."""
    still = gate_rates(NORMAL, slowdown=0.0, trials=100_000, policy=POLICY, seed=seed)
    assert still.slower <= most(0.00005, still.trials)
    assert still.confirmed == 0
    slow = gate_rates(NORMAL, slowdown=0.03, trials=100_000, policy=POLICY, seed=seed)
    assert slow.interval(slow.slower, 0.9999)[0] >= 0.99
    assert slow.interval(slow.confirmed, 0.9999)[0] >= 0.99


@pytest.mark.long
@pytest.mark.parametrize(("slowdown", "low", "high"), [(0.025, 0.08, 0.1), (0.02, 0.46, 0.52)])
def test_stated_misses_over_many_trials(slowdown: float, low: float, high: float) -> None:
    found = gate_rates(NORMAL, slowdown=slowdown, trials=100_000, policy=POLICY)
    assert low < found.interval(found.same)[0]
    assert found.interval(found.same)[1] < high


@pytest.mark.long
@pytest.mark.parametrize("noise", [Noise(process=0.012), Noise(tail=3), Noise(correlation=0.5)])
def test_false_alarms_over_many_trials_in_unkind_noise(noise: Noise) -> None:
    found = gate_rates(noise, slowdown=0.0, trials=100_000, policy=POLICY)
    assert found.interval(found.slower)[1] < 0.001
    assert found.confirmed <= 1


def test_the_documentation_has_the_tables_that_the_command_prints() -> None:
    text = DOCUMENTATION.read_text()
    for table in tables(1, POLICY):
        assert table.splitlines()[0] in text
    assert policy_text(POLICY) in "".join(line.removeprefix("    ") for line in text.splitlines(keepends=True))


@pytest.mark.long
def test_the_documentation_has_them_to_the_digit() -> None:
    text = DOCUMENTATION.read_text()
    for table in tables(20_000, POLICY):
        assert table in text


def test_the_simulation_is_the_same_each_time() -> None:
    assert rates(NORMAL, 0.025, trials=500) == rates(NORMAL, 0.025, trials=500)
    other = gate_rates(NORMAL, slowdown=0.025, trials=500, policy=POLICY, seed=21)
    assert not np.isclose(other.mean_pairs, rates(NORMAL, 0.025, trials=500).mean_pairs)
