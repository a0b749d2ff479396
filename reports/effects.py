"""Main effects of the toggles: what becomes of a row's speed where one toggle alone differs. From stored rows only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Hashable, Iterable, Sequence

from scipy import stats

from harness.schema import Phase, Record, Row
from harness.store import StoredRun
from reports.verdict import outcome

LEVEL = 0.95  # of the interval, two-sided
OFF = "off"  # what other values of a toggle are held against, where it is one

PHASES: tuple[Phase, ...] = ("decode", "prefill")

Value = str | int


class Effect(Record, frozen=True, kw_only=True):
    """Speed with `value` over speed with `against`: 1.38 is 38 % faster, as a geometric mean over the pairs.

    A pair is two proven rows of one environment that are the same but for this toggle. The interval is that of the mean
    of the log ratios (t, 95 %): how far the pairs agree, not how well each is measured. None of it for a single pair.
    """

    toggle: str
    value: Value
    against: Value
    phase: Phase
    pairs: int
    alone: int  # rows of one of the two values whose partner is not there, or has no speed
    ratio: float
    low: float | None
    high: float | None
    least: float
    most: float


def main_effects(run: StoredRun) -> tuple[Effect, ...]:
    """Of every toggle that varies, in the order of the rows; empty where none was timed."""
    rows = [row for row in run.rows if outcome(row, run.environment.ceilings) == "proven"]
    effects: list[Effect | None] = []
    for toggle in dict.fromkeys(name for row in rows for name in row.toggles):
        values = list(dict.fromkeys(row.toggles[toggle] for row in rows if toggle in row.toggles))
        against = OFF if OFF in values else values[-1]
        for value in (value for value in values if value != against):
            effects += [_effect(rows, toggle, (value, against), phase) for phase in PHASES]
    return tuple(effect for effect in effects if effect is not None)


def _effect(rows: Sequence[Row], toggle: str, values: tuple[Value, Value], phase: Phase) -> Effect | None:
    """None without a pair."""
    value, against = values
    found = _speeds(rows, toggle, values, phase)
    ratios = [speeds[value] / speeds[against] for speeds in found if len(speeds) == len(values)]
    if not ratios:
        return None
    mean, half = _interval([math.log(ratio) for ratio in ratios])
    return Effect(
        toggle=toggle,
        value=value,
        against=against,
        phase=phase,
        pairs=len(ratios),
        alone=len(found) - len(ratios),
        ratio=math.exp(mean),
        low=None if half is None else math.exp(mean - half),
        high=None if half is None else math.exp(mean + half),
        least=min(ratios),
        most=max(ratios),
    )


def _speeds(
    rows: Iterable[Row], toggle: str, values: tuple[Value, Value], phase: Phase
) -> Sequence[dict[Value, float]]:
    """By everything that is not this toggle: the median speed with each of the two values, as far as it is there."""
    found: dict[Hashable, dict[Value, float]] = {}
    for row in rows:
        speed = row.metrics and (row.metrics.decode_tps if phase == "decode" else row.metrics.prefill_tps)
        value = row.toggles.get(toggle)
        if speed and value in values and speed.median > 0:
            others = tuple(sorted((name, set_to) for name, set_to in row.toggles.items() if name != toggle))
            found.setdefault((row.model, row.shape, row.device, row.environment, others), {})[value] = speed.median
    return tuple(found.values())


def _interval(logs: Sequence[float]) -> tuple[float, float | None]:
    """Mean, and half the width of its t interval; None of one value."""
    mean = statistics.fmean(logs)
    if len(logs) < 2:
        return mean, None
    error = statistics.stdev(logs) / math.sqrt(len(logs))
    return mean, float(stats.t.ppf((1 + LEVEL) / 2, len(logs) - 1)) * error
