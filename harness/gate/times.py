"""Times of a row: hygiene of the samples first, then the statistics on the paired log ratios."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harness.gate.arms import SIDES, Side
from harness.gate.evidence import RowEvidence
from harness.gate.schema import Verdict
from harness.sampling import is_median
from harness.schema import Measurement, Samples
from harness.statistics import Judgement, Policy, judge, log_ratios
from harness.words import plural

TimeMetric = Literal["decode", "prefill"]
TIME_METRICS: tuple[TimeMetric, ...] = ("decode", "prefill")
SAMPLED = (*TIME_METRICS, "verify")  # each behind a warm-up of its own; rows at once have no verdict

NoiseClasses = Mapping[tuple[str, str], str]  # by key and metric, as an A/A run of this machine found them
UNGATEABLE = "ungateable"

MOST_DISCARDED = 0.10  # of a process's samples; above it the GPU was throttled
MOST_LOG = 50.0  # of a ratio; a bound beyond it is none
CLOCK_DRIFT = 0.01  # of the SM clock between the arms; a whole step of it is about as large


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A metric of a row. `verdict` "more" asks for further pairs. Times are medians over the processes, in us."""

    verdict: Verdict | Literal["more"]
    reason: str = ""
    base_us: float | None = None
    head_us: float | None = None
    ratio: float | None = None  # geometric mean over the pairs, head / base
    judgement: Judgement | None = None  # None: no pair
    logs: tuple[float, ...] = ()  # log ratio of each pair
    differences_us: tuple[float, ...] = ()
    clock_ratio: float | None = None
    unfit: str = ""  # why the samples show neither a change nor that there is none: a GPU that was held back


def judge_times(row: RowEvidence, metric: TimeMetric, policy: Policy, *, owed: bool = False) -> Timed | None:
    """None where neither arm was timed, which is so on an emulated device; a time that is `owed` is a fault then."""
    base, head = [_samples(one, metric) for one in row.base], [_samples(one, metric) for one in row.head]
    if not owed and all(samples is None for samples in (*base, *head)):
        return None
    fault = _fault(row, metric)
    if fault is not None:
        return fault
    pairs = [(b, h) for b, h in zip(base, head, strict=False) if b is not None and h is not None]
    if not pairs:
        return Timed(verdict="more")
    logs, differences = log_ratios([b.median for b, _ in pairs], [h.median for _, h in pairs])
    judgement = judge(logs, differences, policy)
    clock_ratio = _clock_ratio(pairs)
    unfit = _throttled(pairs) or _drifted(clock_ratio)
    verdict, reason = _settled(judgement, unfit)
    return Timed(
        verdict=verdict,
        reason=reason,
        base_us=statistics.median(b.median for b, _ in pairs),
        head_us=statistics.median(h.median for _, h in pairs),
        ratio=math.exp(judgement.mean),
        judgement=judgement,
        logs=tuple(logs.tolist()),
        differences_us=tuple(differences.tolist()),
        clock_ratio=clock_ratio,
        unfit=unfit,
    )


def _settled(judgement: Judgement, unfit: str) -> tuple[Verdict | Literal["more"], str]:
    """The statistics' word, where the samples are fit for one."""
    if judgement.verdict == "more":
        return "more", ""
    if unfit:
        return "cannot_tell", unfit
    if judgement.verdict == "cannot_tell":
        return "cannot_tell", f"too noisy: {judgement.pairs} pairs, and neither slower nor the same is shown"
    return "faster" if judgement.faster else judgement.verdict, ""


def _fault(row: RowEvidence, metric: TimeMetric) -> Timed | None:
    """What makes every statistic of the row meaningless; what is broken comes before what cannot tell."""
    found = [_unfit(one, metric, side) for side in SIDES for one in row.of(side)]
    faults = sorted((fault for fault in found if fault is not None), key=lambda fault: fault.verdict != "broken")
    return faults[0] if faults else None


def _unfit(one: Measurement, metric: TimeMetric, side: Side) -> Timed | None:
    """Why what one process timed is no figure of the row."""
    samples = _samples(one, metric)
    if one.status in ("throttled", "parity_failed"):
        reason = f"{side}: {one.reason or one.status.replace('_', ' ')}"
        return Timed(verdict="cannot_tell", reason=reason, unfit=reason)
    if samples is None:
        return Timed(verdict="broken", reason=f"{side} was not timed")
    if one.limit:
        return Timed(verdict="broken", reason=f"{side}: {one.limit}")
    if not samples.values or not (0 < samples.median < math.inf):
        return Timed(verdict="broken", reason=f"{side}: {samples.median:g} us is no time")
    if not is_median(samples.median, samples.values):
        shown = f"{samples.median:g} us is not the median of its {plural(len(samples.values), 'sample')}"
        return Timed(verdict="broken", reason=f"{side}: {shown}, which is {statistics.median(samples.values):g} us")
    warm_up = _not_flat(one, metric)
    return Timed(verdict="broken", reason=f"{side}: {warm_up}") if warm_up else None


def _not_flat(one: Measurement, metric: TimeMetric) -> str:
    """What is said of the warm-up before this metric; words that name neither metric are of both."""
    others = tuple(f"{other}: " for other in SAMPLED if other != metric)
    parts = (part for part in one.warm_up.split("; ") if part and not part.startswith(others))
    return next(parts, "")


def _throttled(pairs: Sequence[tuple[Samples, Samples]]) -> str:
    for side in (0, 1):
        for pair in pairs:
            samples = pair[side]
            share = samples.discarded / (samples.discarded + len(samples.values))
            if not share <= MOST_DISCARDED:
                why = ", ".join(sorted(samples.reasons)) or "no reason given"
                return f"{('base', 'head')[side]} throttled: {share:.0%} of its samples discarded ({why})"
    return ""


def _clock_ratio(pairs: Sequence[tuple[Samples, Samples]]) -> float | None:
    """Of the SM clocks, head over base; None where one is not known."""
    logs = [
        math.log(statistics.median(h.sm_mhz) / statistics.median(b.sm_mhz)) for b, h in pairs if b.sm_mhz and h.sm_mhz
    ]
    return math.exp(statistics.fmean(logs)) if logs else None


def _drifted(clock: float | None) -> str:
    if clock is None or abs(clock - 1) <= CLOCK_DRIFT:
        return ""
    return f"the SM clock of head was {_percent(clock)} against base"


def _samples(measured: Measurement, metric: TimeMetric) -> Samples | None:
    return measured.decode if metric == "decode" else measured.prefill


def ratio_of(log: float) -> float | None:
    """None for a bound that does not bound."""
    return math.exp(log) if abs(log) < MOST_LOG else None


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"
