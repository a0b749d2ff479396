"""When a warm-up is over, when sampling is, and which samples count."""

from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections.abc import Callable, Iterable
from itertools import chain, repeat

import msgspec
import pytest

from harness.rules import CAREFUL, Rules
from harness.sampling import Take, apart, median_error, sampled, warm

MS = 1000.0  # us


def take(us: float, *, mhz: float | None = 1500.0, reasons: tuple[str, ...] = ()) -> Take:
    return Take(device_us=us, host_us=us, issue_us=us, sm_mhz=mhz, reasons=reasons, temperature_c=40)


def taker(takes: Iterable[Take]) -> tuple[Callable[[], Take], list[Take]]:
    """Gives them out one by one; and those that it gave."""
    given: list[Take] = []
    source = iter(takes)

    def give() -> Take:
        given.append(next(source))
        return given[-1]

    return give, given


def seconds(takes: Iterable[Take]) -> float:
    return sum(item.host_us for item in takes) / 1e6


def test_a_warm_up_lasts_until_the_times_are_flat() -> None:
    falling = [take(100 * MS * (1 + 0.5 / (i + 1))) for i in range(40)]
    give, given = taker(chain(falling, repeat(take(100 * MS))))
    assert warm(give, CAREFUL, least=2.0) == ""
    assert 2.0 < seconds(given) < 20.0
    last = statistics.median(item.device_us for item in given[-3:])
    assert last < 1.05 * 100 * MS


def test_a_warm_up_lasts_until_the_clock_is_flat_too() -> None:
    rising = (take(100 * MS, mhz=1000.0 + 100 * i) for i in range(50))
    give, given = taker(chain(rising, repeat(take(100 * MS, mhz=2000.0))))
    assert warm(give, CAREFUL, least=0.0) == ""
    assert len(given) > 50


@pytest.mark.parametrize("place", [0, 1, 2])
def test_windows_of_which_one_is_no_time_are_not_flat(place: int) -> None:
    takes = [take(200 * MS) for _ in range(3)]
    takes[place] = dataclasses.replace(takes[place], device_us=math.nan)
    give, given = taker(chain(takes, repeat(take(200 * MS))))
    assert warm(give, CAREFUL, least=0.0) == ""
    assert len(given) == place + 4


@pytest.mark.parametrize("least", [0.0, 2.0])
def test_a_warm_up_lasts_at_least_as_long_as_it_must(least: float) -> None:
    give, given = taker(repeat(take(10 * MS)))
    assert warm(give, CAREFUL, least=least) == ""
    assert max(least, 0.375) <= seconds(given) <= max(least, 0.375) + 0.15


def test_a_warm_up_that_never_settles_ends_and_says_so() -> None:
    give, given = taker(take(MS * (100 + 10 * (i // 3 % 2))) for i in range(10_000))
    assert "did not become flat within 0.5 %" in warm(give, CAREFUL, least=2.0)
    assert 20.0 <= seconds(given) < 21.0


def noisy(share: float, seed: int = 1) -> Iterable[Take]:
    random_ = random.Random(seed)
    while True:
        yield take(10 * MS * random_.gauss(1.0, share))


def test_sampling_ends_when_the_median_is_known() -> None:
    rules = msgspec.structs.replace(CAREFUL, warm_share=1.0, seconds=1000.0)
    quiet, loud = (sampled(taker(noisy(share))[0], rules, samples=(50, 10_000)) for share in (0.005, 0.05))
    assert len(quiet.kept) == 50
    assert 300 < len(loud.kept) < 2000
    for found in (quiet, loud):
        samples = found.samples()
        assert samples is not None
        assert samples.stderr <= rules.stderr
        assert abs(samples.median / (10 * MS) - 1) < 4 * rules.stderr


def test_sampling_ends_after_its_seconds_but_not_before_the_least() -> None:
    rules = msgspec.structs.replace(CAREFUL, warm_share=1.0, stderr=0.0)
    found = sampled(taker(noisy(0.01))[0], rules, samples=(50, 10_000))
    assert len(found.kept) == pytest.approx(500, abs=10)  # 5 s of 10 ms
    slow = sampled(taker(take(1e6 * (1 + i % 2 / 100)) for i in range(200))[0], rules, samples=(50, 400))
    assert len(slow.kept) == 50


def test_the_error_of_the_median_is_what_it_says() -> None:
    """Over many draws the spread of the median itself is the error that each draw claims."""
    random_ = random.Random(2)
    draws = [[random_.gauss(100.0, 1.0) for _ in range(60)] for _ in range(1500)]
    claimed = statistics.mean(median_error(draw) for draw in draws)
    real = statistics.stdev(statistics.median(draw) for draw in draws) / 100
    assert 0.85 < claimed / real < 1.35
    assert median_error([1.0, 2.0]) == 1.0


def test_samples_of_a_slowed_gpu_are_thrown_away_and_counted() -> None:
    good, hot, capped = (
        take(10 * MS),
        take(20 * MS, reasons=("hw_thermal_slowdown",)),
        take(MS, reasons=("sw_power_cap",)),
    )
    slow = take(30 * MS, mhz=1000.0)
    kept, discarded = apart([good] * 50 + [hot, capped, slow], CAREFUL)
    assert kept == [good] * 50 + [capped]  # a power cap is normal on these GPUs
    assert discarded == [hot, slow]


@pytest.mark.parametrize(("bad", "throttled"), [(5, False), (6, True)])
def test_more_than_a_tenth_thrown_away_is_a_throttled_row(bad: int, throttled: bool) -> None:
    takes = [take(10 * MS)] * (50 - bad) + [take(15 * MS, reasons=("hw_slowdown",))] * bad
    rules = Rules(warm_seconds=(0.0, 0.0), stderr=0.0)
    found = sampled(taker(chain([take(MS)], takes))[0], rules, samples=(50, 50))
    assert (found.discarded, found.reasons) == (bad, {"hw_slowdown": bad})
    expected = f"{bad} of 50 samples were taken while the GPU was slowed down (hw_slowdown in {bad})"
    assert found.throttled == (expected if throttled else "")
    samples = found.samples()
    assert samples is not None
    assert set(samples.values) == {10 * MS}
    assert (samples.discarded, samples.temperature_c) == (bad, (40, 40))


def test_a_gpu_that_only_throttles_leaves_no_figure() -> None:
    rules = Rules(warm_seconds=(0.0, 0.0))
    found = sampled(taker(repeat(take(MS, reasons=("hw_slowdown",))))[0], rules, samples=(5, 40))
    assert (found.samples(), len(found.kept), found.discarded) == (None, 0, 40)
    assert found.throttled
