"""Warm up until times and clock are flat, sample until the median is known, throw throttled samples away aloud.

A take is one timed run of the same work. Where it comes from does not matter here: a GPU, or a formula in a test.
All seconds are those of the takes themselves.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.rules import Rules
from harness.schema import Samples

SLOWED = frozenset(("hw_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown", "sw_thermal_slowdown"))
WINDOWS = 3  # in a row that must agree
WINDOW_SHARE = 1 / 8  # of the least warm-up


@dataclass(frozen=True, kw_only=True)
class Take:
    device_us: float  # from when the device starts the work to when it has ended it
    host_us: float  # until the host knows of its end
    issue_us: float  # until the host has issued it
    sm_mhz: float | None = None  # mean meanwhile, measured on the device
    reasons: tuple[str, ...] = ()  # why clocks were held back, asked directly behind it
    temperature_c: int | None = None


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """What is left of the takes, and what was thrown away."""

    kept: tuple[Take, ...]
    discarded: int
    reasons: dict[str, int]  # of all takes
    temperature_c: tuple[int, int] | None
    throttled: str  # one line if too many were discarded, else empty
    warm_up: str = ""  # one line if it did not become flat, else empty

    def samples(self, *, per: int = 1) -> Samples | None:
        """Device time in us, divided by `per`; None if nothing is left."""
        if not self.kept:
            return None
        values = tuple(take.device_us / per for take in self.kept)
        clocks = tuple(take.sm_mhz for take in self.kept if take.sm_mhz is not None)
        return Samples(
            unit="us",
            values=values,
            median=statistics.median(values),
            stderr=median_error(values),
            sm_mhz=clocks if len(clocks) == len(values) else (),
            discarded=self.discarded,
            reasons=self.reasons,
            temperature_c=self.temperature_c,
        )


def sampled(take: Callable[[], Take], rules: Rules, *, samples: tuple[int, int], warm_seconds: float = 0.0) -> Sampled:
    """Warm up (for `warm_seconds` at least), then take `samples` (at least, at most) by the rules."""
    warm_up = warm(take, rules, least=warm_seconds)
    least, most = samples
    takes: list[Take] = []
    spent = 0.0
    while len(takes) < most:
        takes.append(take())
        spent += takes[-1].host_us / 1e6
        if len(takes) < least:
            continue
        kept, _ = apart(takes, rules)
        known = len(kept) >= least and median_error([item.device_us for item in kept]) <= rules.stderr
        if known or spent >= rules.seconds:
            break
    return _summary(takes, rules, warm_up)


def warm(take: Callable[[], Take], rules: Rules, *, least: float) -> str:
    """Run until three windows in a row agree in time and clock. One line if they never do, else empty."""
    most, length = rules.warm_seconds[1], rules.warm_seconds[0] * WINDOW_SHARE
    windows: deque[tuple[float, float | None]] = deque(maxlen=WINDOWS)
    spent = 0.0
    while True:
        window = [take()]
        while sum(item.host_us for item in window) < 1e6 * length:
            window.append(take())
        spent += sum(item.host_us for item in window) / 1e6
        windows.append((statistics.median(item.device_us for item in window), _clock(window)))
        if spent >= least and _flat(windows, rules.warm_share):
            return ""
        if spent >= most:
            return f"the warm-up of {spent:.1f} s did not become flat within {100 * rules.warm_share:g} %"


def apart(takes: Sequence[Take], rules: Rules) -> tuple[list[Take], list[Take]]:
    """Those that count, and those taken while hardware or heat held the GPU back, or far below its clock."""
    clocks = [take.sm_mhz for take in takes if take.sm_mhz is not None]
    limit = rules.clock_share * statistics.median(clocks) if clocks else 0.0
    kept: list[Take] = []
    discarded: list[Take] = []
    for take in takes:
        slow = bool(SLOWED & set(take.reasons)) or (take.sm_mhz is not None and not take.sm_mhz >= limit)
        (discarded if slow else kept).append(take)
    return kept, discarded


def median_error(values: Sequence[float]) -> float:
    """Relative standard error of the median; 1 where fewer than three values cannot tell.

    Distribution-free: half the distance between the order statistics sqrt(n) / 2 ranks to both sides of the median,
    which is one standard deviation of the number of values below it (binomial, one half).
    """
    count = len(values)
    if count < 3:
        return 1.0
    ordered = sorted(values)
    reach = math.sqrt(count) / 2
    low = max(0, math.floor((count - 1) / 2 - reach))
    high = min(count - 1, math.ceil((count - 1) / 2 + reach))
    return (ordered[high] - ordered[low]) / 2 / statistics.median(ordered)


def is_median(median: float, values: Sequence[float]) -> bool:
    """Whether a stored median is that of its values, but for their last digits in decimal."""
    return len(values) > 0 and abs(median - statistics.median(values)) <= 1e-9 * abs(median)


def _summary(takes: Sequence[Take], rules: Rules, warm_up: str) -> Sampled:
    kept, discarded = apart(takes, rules)
    reasons = dict(Counter(reason for take in takes for reason in take.reasons))
    degrees = [take.temperature_c for take in takes if take.temperature_c is not None]
    throttled = ""
    if not len(discarded) <= rules.discard_share * len(takes):
        seen = ", ".join(f"{reason} in {count}" for reason, count in reasons.items() if reason in SLOWED)
        throttled = f"{len(discarded)} of {len(takes)} samples were taken while the GPU was slowed down"
        throttled += f" ({seen or 'by its SM clock'})"
    return Sampled(
        kept=tuple(kept),
        discarded=len(discarded),
        reasons=reasons,
        temperature_c=(degrees[0], degrees[-1]) if degrees else None,
        throttled=throttled,
        warm_up=warm_up,
    )


def _clock(takes: Sequence[Take]) -> float | None:
    clocks = [take.sm_mhz for take in takes if take.sm_mhz is not None]
    return statistics.median(clocks) if clocks else None


def _flat(windows: Sequence[tuple[float, float | None]], share: float) -> bool:
    if len(windows) < WINDOWS:
        return False
    times = [time for time, _ in windows]
    clocks = [clock for _, clock in windows if clock is not None]
    return all(value - min(found) <= share * min(found) for found in (times, clocks) for value in found)
