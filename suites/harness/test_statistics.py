"""Judgements of single rows: verdicts, their bounds, bad numbers, and the rules around them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.errors import BadCall
from harness.policy import parse_policy, policy_text, read_policy
from harness.statistics import (
    OUTCOMES,
    Direction,
    Judgement,
    Policy,
    confirms,
    decide,
    judge,
    log_ratios,
    one_sided,
)

POLICY = Policy()
BASE = 1000.0
WOBBLE = np.array([1.0, -1.0, 0.5, -0.5] * 4)  # mean 0 at every even number of pairs


def judged(change: float, noise: float = 0.002, pairs: int = 16, base: float = BASE) -> Judgement:
    logs = math.log1p(change) + noise * WOBBLE[:pairs]
    return judge(logs, base * np.expm1(logs), POLICY)


@pytest.mark.parametrize(
    ("change", "noise", "pairs", "verdict", "settled"),
    [
        (0.05, 0.002, 4, "slower", 4),
        (0.05, 0.002, 16, "slower", 4),
        (0.0, 0.002, 16, "same", 4),
        (0.019, 0.002, 16, "same", 4),  # shown, but below the floor
        (0.05, 0.03, 4, "more", 4),
        (0.05, 0.03, 5, "more", 5),
        (0.05, 0.2, 16, "cannot_tell", 16),
        (0.05, 0.002, 3, "more", 3),
        (-0.05, 0.002, 16, "same", 4),
    ],
)
def test_verdict_and_the_look_that_settles_it(
    change: float, noise: float, pairs: int, verdict: str, settled: int
) -> None:
    found = judged(change, noise, pairs)
    assert (found.verdict, found.pairs) == (verdict, settled)


def test_bounds_are_those_of_the_t_distribution() -> None:
    found = judged(0.05, pairs=4)
    logs = math.log1p(0.05) + 0.002 * WOBBLE[:4]
    shown = stats.ttest_1samp(logs, 0.0, alternative="greater").confidence_interval(0.999)
    ruled_out = stats.ttest_1samp(logs, 0.0, alternative="less").confidence_interval(0.99)
    assert found.low == pytest.approx(shown.low)
    assert found.high == pytest.approx(ruled_out.high)
    assert found.mean == pytest.approx(math.log(1.05))


def test_a_verdict_once_settled_is_not_looked_at_again() -> None:
    logs = np.concatenate([0.001 * WOBBLE[:4], np.full(12, 0.1)])
    assert judge(logs, BASE * logs, POLICY).verdict == "same"


def test_a_slowdown_below_the_absolute_floor_is_not_called_slower() -> None:
    assert judged(0.05, base=1000.0).verdict == "slower"
    assert judged(0.05, base=59.0).verdict == "cannot_tell"  # 2.95 us
    assert judged(0.05, base=61.0).verdict == "slower"


def test_one_row_alone_is_judged_as_many_at_once() -> None:
    logs = 0.02 + 0.03 * np.random.default_rng(0).standard_normal((200, 16))
    codes, pairs = decide(logs, BASE * np.expm1(logs), POLICY)
    assert set(codes) == {0, 1, 3}
    for i in range(len(logs)):
        found = judge(logs[i], BASE * np.expm1(logs[i]), POLICY)
        assert (found.verdict, found.pairs) == (OUTCOMES[codes[i]], pairs[i])


def test_looks_one_after_the_other_say_what_all_pairs_at_once_say() -> None:
    for row in 0.02 + 0.012 * np.random.default_rng(1).standard_normal((50, 16)):
        found = (judge(row[:k], BASE * np.expm1(row[:k]), POLICY) for k in POLICY.looks)
        first = next(judgement for judgement in found if judgement.verdict != "more")
        assert first == judge(row, BASE * np.expm1(row), POLICY)


def test_faster_is_slower_in_the_mirror() -> None:
    told = 0
    for row in 0.03 + 0.012 * np.random.default_rng(2).standard_normal((60, 16)):
        slower, faster = judge(row, BASE * row, POLICY), judge(-row, -BASE * row, POLICY)
        assert faster.verdict == "same"
        told += faster.faster
        if faster.faster:
            assert (slower.verdict, slower.pairs, slower.mean) == ("slower", faster.pairs, -faster.mean)
    assert told > 40
    assert not judged(-0.019).faster


def test_a_row_that_is_much_faster_asks_for_its_bits_again() -> None:
    assert judged(-0.16).recheck
    assert not judged(-0.14).recheck
    assert not judged(0.5).recheck


def test_the_smallest_visible_change_is_seen_in_nine_of_ten_runs() -> None:
    visible = judged(0.0, noise=0.0099 * math.sqrt(8 / 5 * 3 / 4), pairs=4).smallest_visible
    assert 0.023 < visible < 0.0265
    rng = np.random.default_rng(7)

    def power(change: float, sd: float) -> float:
        logs = math.log1p(change) + sd * rng.standard_normal((20_000, 16))
        return float(np.mean(decide(logs, BASE * np.expm1(logs), POLICY)[0] == 0))

    for noise in (0.005, 0.01, 0.03):
        found = judged(0.0, noise)
        logs = noise * WOBBLE[: found.pairs]
        sd = float(np.std(logs, ddof=1))
        assert 0.88 < power(found.smallest_visible, sd) < 0.94


def test_the_smallest_visible_change_knows_the_absolute_floor() -> None:
    assert judged(0.0, 0.001, base=30.0).smallest_visible > 0.1
    assert judged(0.0, 0.001, base=3000.0).smallest_visible < 0.022


def test_one_pair_shows_nothing() -> None:
    found = judge([0.1], [100.0], POLICY)
    assert (found.verdict, found.low, found.high) == ("more", -math.inf, math.inf)
    assert found.smallest_visible == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(BadCall, match=r"pair 2: the log ratio is -?(nan|inf), expected a finite number"):
        judge([0.0, bad, 0.0, 0.0], [0.0] * 4, POLICY)
    with pytest.raises(BadCall, match="pair 3: the difference"):
        judge([0.0] * 4, [0.0, 0.0, bad, 0.0], POLICY)
    with pytest.raises(BadCall, match="pair 1: the log ratio"):
        confirms([bad] * 8, [0.0] * 8, POLICY)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(BadCall, match=r"pair 2: head took .* us, expected a positive time"):
        log_ratios([1.0, 1.0], [1.0, bad])


def test_pairs_without_a_partner_are_refused() -> None:
    with pytest.raises(BadCall, match="2 times of base and 1 of head"):
        log_ratios([1.0, 2.0], [1.0])
    with pytest.raises(BadCall, match="2 log ratios and 1 differences"):
        judge([0.0, 0.0], [0.0], POLICY)
    with pytest.raises(BadCall, match="0 log ratios"):
        judge([], [], POLICY)


def test_confirmation_wants_enough_fresh_pairs_in_the_same_direction() -> None:
    fresh = math.log1p(0.03) + 0.005 * WOBBLE[:8]
    assert confirms(fresh, BASE * fresh, POLICY)
    assert not confirms(fresh[:7], BASE * fresh[:7], POLICY)
    assert not confirms(fresh, BASE * fresh, POLICY, direction="faster")
    assert confirms(-fresh, -BASE * fresh, POLICY, direction="faster")
    wild = fresh + 0.05 * WOBBLE[:8]
    assert not confirms(wild, BASE * wild, POLICY)
    little = fresh - math.log1p(0.03) + math.log1p(0.009)
    assert not confirms(little, BASE * little, POLICY)


def test_six_verdicts_on_one_side_without_a_cause_raise_the_alarm() -> None:
    slower: list[Direction] = ["slower"] * 6
    assert one_sided(slower, POLICY, engine_changed=False)
    assert one_sided(["faster" for _ in range(7)], POLICY, engine_changed=False)
    assert not one_sided(slower, POLICY, engine_changed=True)
    assert not one_sided(slower[:5], POLICY, engine_changed=False)
    assert not one_sided([*slower, "faster"], POLICY, engine_changed=False)


def test_a_policy_is_written_and_read_back(tmp_path: Path) -> None:
    policy = Policy(looks=(5, 10), floor=0.01, one_sided=9)
    path = tmp_path / "gate.toml"
    path.write_text(policy_text(policy))
    assert read_policy(path) == policy
    assert parse_policy("schema = 1", path) == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 1\nflor = 0.1", "line 2: flor: unknown key, expected one of absolute_us, canary"),
        ("schema = 1\nfloor = 2", "line 2: floor: 2: expected a share between 0 and 1"),
        ("schema = 1\nfloor = nan", "line 2: floor: nan: expected a share"),
        ("schema = 1\nfloor = '2 %'", "line 2: floor: '2 %' is not a number"),
        ("schema = 1\nfloor = 0.03", "line 2: floor 0.03 is not below pass_below 0.03"),
        ("schema = 1\nlooks = [4, 4]", r"line 2: looks: \[4, 4\]: expected rising numbers of pairs"),
        ("schema = 1\nlooks = [1, 4]", "from 2 on"),
        ("schema = 1\nlooks = []", "line 2: looks: expected a list of whole numbers"),
        ("schema = 1\nconfirm_pairs = 1", "line 2: confirm_pairs: 1: expected at least 2"),
        ("schema = 1\none_sided = 1.5", "line 2: one_sided: 1.5 is not a whole number"),
        ("schema = 1\nabsolute_us = inf", "line 2: absolute_us: inf: expected a finite number"),
        ("schema = 1\nabsolute_us = nan", "line 2: absolute_us: nan: expected at least 0"),
        ("schema = 1\nabsolute_us = -1", "line 2: absolute_us: -1: expected at least 0"),
        ("schema = 2", "line 1: schema: expected 1"),
        ("floor = 0.02", "schema: expected 1"),
        ("schema = ", "gate.toml: "),
    ],
)
def test_a_bad_policy_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BadCall, match=message):
        parse_policy(text, Path("gate.toml"))
