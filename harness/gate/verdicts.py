"""From evidence to verdicts: one for each row in each metric, and one exit code for them all."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from harness.gate.accept import Accepted, Entry
from harness.gate.counts import judge_counts
from harness.gate.evidence import Evidence, RowEvidence
from harness.gate.parity import judge_parity
from harness.gate.schema import NOT_CONFIRMED, CanaryVerdict, Metric, RowVerdict, Verdict
from harness.gate.times import (
    TIME_METRICS,
    UNGATEABLE,
    NoiseClasses,
    Timed,
    TimeMetric,
    judge_times,
    ratio_of,
)
from harness.progress import row_name
from harness.schema import PlannedRow
from harness.statistics import Policy, confirms
from harness.where import fields

# In the order of how much they matter to a reader.
EXIT_CODES: dict[Verdict, int] = {
    "missing": 2,
    "broken": 2,
    "wrong": 1,
    "slower": 1,
    "cannot_tell": 3,
    "accepted": 0,
    "faster": 0,
    "same": 0,
}
UNGATEABLE_WORDS = "its noise is ungateable on this machine"
PRECEDENCE = (2, 1, 3, 0)
WORDS = {0: "PASS", 1: "REGRESSION", 2: "BROKEN", 3: "CANNOT TELL"}


@dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The second measurement of rows that were slower: its evidence, and what it is called where it agrees."""

    evidence: Evidence
    words: str  # "confirmed on ..."
    still: bool = True  # whether its canaries were


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Everything a verdict depends on. `used` collects the entries of the accept file that were needed."""

    policy: Policy
    accepted: Accepted
    rerun: Callable[[PlannedRow], str]
    moved: tuple[str, ...] = ()  # canaries
    confirmation: Confirmation | None = None
    noise: NoiseClasses = field(default_factory=dict)
    stored: str = ""  # why times decide nothing: they were stored at different times
    used: list[Entry] = field(default_factory=list)

    def verdicts(self, evidence: Evidence) -> tuple[RowVerdict, ...]:
        return tuple(verdict for row in evidence.rows.values() for verdict in self._row(row))

    def _row(self, row: RowEvidence) -> list[RowVerdict]:
        if row.faults:
            return [self._verdict(row, "parity", row.faults[0].verdict, row.faults[0].reason)]
        if not row.head:
            return [self._verdict(row, "parity", "missing", "no process of head measured it")]
        found = [self._verdict(row, "parity", *judge_parity(row))]
        if row.unknown_to_base:
            return [*found, self._verdict(row, "counts", "cannot_tell", "base has no such row to compare with")]
        found += self._counts(row)
        for metric in TIME_METRICS:
            # Samples that were all thrown away, in both arms, leave no time to compare, and that is no pass.
            timed = judge_times(row, metric, self.policy, owed=row.row.device == "cuda" and not self.stored)
            if timed is not None:
                found.append(self._timed(row, metric, timed))
        return found

    def _counts(self, row: RowEvidence) -> list[RowVerdict]:
        counts = judge_counts(row)
        if counts is None:
            return []
        entry = self.accepted.counts(fields(row.row), counts) if counts.verdict == "slower" else None
        if entry is not None:
            self.used.append(entry)
            return [self._verdict(row, "counts", "accepted", f"{counts.reason}; {entry.words}")]
        return [self._verdict(row, "counts", counts.verdict, counts.reason)]

    def _timed(self, row: RowEvidence, metric: TimeMetric, timed: Timed) -> RowVerdict:
        verdict, reason, confirmation = self._decided(row, metric, timed)
        if verdict == "slower":
            assert timed.ratio is not None
            entry = self.accepted.time(fields(row.row), metric, timed.ratio - 1)
            if entry is not None:
                self.used.append(entry)
                verdict, reason = "accepted", entry.words
        return self._verdict(row, metric, verdict, reason, timed=timed, confirmation=confirmation)

    def _decided(self, row: RowEvidence, metric: TimeMetric, timed: Timed) -> tuple[Verdict, str, str]:
        """Verdict, reason and confirmation of a time, the canaries and the second measurement taken into account."""
        if timed.verdict == "broken":
            return "broken", timed.reason, ""
        if self.stored:
            return "cannot_tell", self.stored, ""
        ungateable = self.noise.get((row.row.key, metric)) == UNGATEABLE
        if timed.verdict == "more":
            return "cannot_tell", f"{UNGATEABLE_WORDS}: no more pairs for it" if ungateable else "too few pairs", ""
        if self.moved:
            return "cannot_tell", f"the canaries moved ({', '.join(self.moved)})", ""
        if timed.verdict != "slower":
            return timed.verdict, timed.reason, ""
        if ungateable:
            return "cannot_tell", f"slower, and {UNGATEABLE_WORDS}", ""
        again = self._again(row, metric)
        if again is not None and again.verdict == "broken":
            return "broken", f"slower at first, and while that was confirmed {again.reason}", NOT_CONFIRMED
        if again is not None and again.unfit:
            return "cannot_tell", f"slower at first, and while that was confirmed {again.unfit}", NOT_CONFIRMED
        if again is None or again.ratio is None:
            return "cannot_tell", "slower, and the confirmation was not measured", NOT_CONFIRMED
        assert self.confirmation is not None
        if self.confirmation.still and confirms(again.logs, again.differences_us, self.policy):
            return "slower", "", self.confirmation.words
        why = "" if self.confirmation.still else ", and its canaries moved"
        seen = f"{100 * (again.ratio - 1):+.1f} % in {len(again.logs)} fresh pairs{why}"
        return "cannot_tell", f"slower at first, then {seen}", NOT_CONFIRMED

    def _again(self, row: RowEvidence, metric: TimeMetric) -> Timed | None:
        if self.confirmation is None:
            return None
        again = self.confirmation.evidence.rows.get(row.row.key)
        return judge_times(again, metric, self.policy) if again is not None else None

    def _verdict(
        self,
        row: RowEvidence,
        metric: Metric,
        verdict: Verdict,
        reason: str,
        *,
        timed: Timed | None = None,
        confirmation: str = "",
    ) -> RowVerdict:
        planned, judgement = row.row, timed.judgement if timed else None
        return RowVerdict(
            key=planned.key,
            label=row_name(planned),
            model=f"{planned.model.name} {planned.model.quant}",
            shape=planned.shape,
            toggles=planned.toggles,
            metric=metric,
            verdict=verdict,
            base_us=timed.base_us if timed else None,
            head_us=timed.head_us if timed else None,
            ratio=timed.ratio if timed else None,
            low=ratio_of(judgement.low) if judgement else None,
            high=ratio_of(judgement.high) if judgement else None,
            pairs=judgement.pairs if judgement else 0,
            smallest_visible=_finite(judgement.smallest_visible) if judgement else None,
            clock_ratio=timed.clock_ratio if timed else None,
            noise_class=self.noise.get((planned.key, metric), "") if timed else "",
            confirmation=confirmation,
            reason=reason,
            rerun="" if verdict == "same" else self.rerun(planned),
        )


def _finite(value: float) -> float | None:
    return value if value < math.inf else None


def exit_code(rows: Sequence[RowVerdict], canaries: Sequence[CanaryVerdict]) -> int:
    """Of all verdicts the first of 2, 1, 3, 0. No row at all is no pass."""
    codes = {EXIT_CODES[row.verdict] for row in rows} or {2}
    codes |= {3} if any(canary.moved for canary in canaries) else set()
    return next(code for code in PRECEDENCE if code in codes)


def headline(code: int, rows: Sequence[RowVerdict]) -> str:
    """The verdict in one line: how many rows by their worst verdict."""
    worst: dict[str, Verdict] = {}
    places = list(EXIT_CODES)
    for row in rows:
        before = worst.get(row.key, "same")
        worst[row.key] = min(before, row.verdict, key=places.index)
    counts = Counter(worst.values())
    parts = [f"{counts[name]} {name.replace('_', ' ')}" for name in places if counts[name]]
    return f"{WORDS[code]}: {', '.join(parts) or 'no row was measured'}"
