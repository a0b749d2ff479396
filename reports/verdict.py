"""What a run adds up to: one exit code, one headline and the reasons. Fail closed: what was not shown is not a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from harness.check_names import AT_DEPTH, ORACLE, PAIRS, VERIFIED
from harness.command_proof import ORACLES
from harness.schema import FOREIGN, Ceiling, Check, Row, When
from harness.store import StoredRun
from harness.words import plural
from reports.document import Tone
from reports.roofline import row_points
from reports.text import one_line
from reports.units import percent

MOST_PERCENT_OF_CEILING = 105.0  # of a measured ceiling; above it the clock, the bytes or the ceiling is wrong

Outcome: TypeAlias = Literal[
    "proven",
    "different",
    "unproven",
    "throttled",
    "implausible",
    "crashed",
    "hung",
    "out of memory",
    "error",
    "missing",
    "not applicable",
]


@dataclass(frozen=True, kw_only=True)
class OutcomeInfo:
    """How an outcome is shown and which exit code it asks for."""

    icon: str
    meaning: str
    exit_code: int
    tone: Tone


PROVEN = "every comparison equal to the last bit; of a foreign engine, within its bound"

OUTCOMES: dict[Outcome, OutcomeInfo] = {
    "crashed": OutcomeInfo(icon="✗", meaning="the row's process died", exit_code=2, tone="bad"),
    "hung": OutcomeInfo(icon="✗", meaning="stopped after its time limit", exit_code=2, tone="bad"),
    "out of memory": OutcomeInfo(icon="✗", meaning="the device had too little memory", exit_code=2, tone="bad"),
    "error": OutcomeInfo(icon="✗", meaning="the row ended with an error", exit_code=2, tone="bad"),
    "missing": OutcomeInfo(icon="✗", meaning="planned, but no result was stored", exit_code=2, tone="bad"),
    "implausible": OutcomeInfo(
        icon="✗", meaning=f"faster than {MOST_PERCENT_OF_CEILING:.0f} % of a measured ceiling", exit_code=2, tone="bad"
    ),
    "different": OutcomeInfo(icon="✗", meaning="a parity check failed", exit_code=1, tone="bad"),
    "unproven": OutcomeInfo(
        icon="?",
        meaning="ran, but parity was not shown both before and after the timed loop",
        exit_code=3,
        tone="unsure",
    ),
    "throttled": OutcomeInfo(
        icon="?",
        meaning="proven, but the GPU was slowed down while it was timed",
        exit_code=3,
        tone="unsure",
    ),
    "proven": OutcomeInfo(icon="✓", meaning=PROVEN, exit_code=0, tone="good"),
    "not applicable": OutcomeInfo(icon="—", meaning="cannot be shown on this device; not a pass", exit_code=0, tone=""),
}

EXIT_CODES: dict[int, tuple[str, str, Tone]] = {
    0: ("✓", "PASS", "good"),
    1: ("✗", "PARITY FAILURE", "bad"),
    2: ("⚠", "BROKEN", "bad"),
    3: ("?", "CANNOT TELL", "unsure"),
}
EXIT_MEANINGS: dict[int, str] = {
    0: "pass: everything that was owed is there and equal to the last bit, or within the bound of a foreign engine",
    1: "regression or parity failure",
    2: "broken: rows are missing or did not end as they should",
    3: "cannot tell: too little was compared to say anything",
}
PRECEDENCE = (2, 1, 3, 0)  # of several, the first that occurs

_STATUS_OUTCOMES: dict[str, Outcome] = {
    "crashed": "crashed",
    "hung": "hung",
    "out_of_memory": "out of memory",
    "error": "error",
    "not_applicable": "not applicable",
    "throttled": "throttled",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`exit_code` is the command's; `headline` is one line of words behind `icon`; `reasons` one line each."""

    exit_code: int
    icon: str
    headline: str
    reasons: tuple[str, ...]
    counts: dict[Outcome, int]

    @property
    def tone(self) -> Tone:
        return EXIT_CODES[self.exit_code][2]


def decide(run: StoredRun) -> Verdict:
    """The verdict of a stored run."""
    counts = Counter(outcome(row, run.environment.ceilings) for row in run.rows)
    counts["missing"] = len(run.missing)
    codes = {OUTCOMES[name].exit_code for name, number in counts.items() if number}
    failed_peers = [peer for peer in run.peers if peer.status == "failed"]
    codes |= {2} if failed_peers else set()
    if counts["proven"] == 0:
        codes.add(3)
    code = next(code for code in PRECEDENCE if code in codes or code == 0)
    icon, word, _ = EXIT_CODES[code]
    ordered = {name: counts[name] for name in OUTCOMES}
    parts = [f"{plural(number, 'row')} {name}" for name, number in ordered.items() if number]
    parts += [f"{plural(len(failed_peers), 'figure')} of the peer failed"] if failed_peers else []
    return Verdict(
        exit_code=code,
        icon=icon,
        headline=f"{word}: {', '.join(parts) if parts else 'no rows were planned and none were made'}",
        reasons=_reasons(run),
        counts=ordered,
    )


OWED = (PAIRS["graph"][2], PAIRS["prefill"][2], ORACLE)  # the comparisons of every row


def outcome(row: Row, ceilings: Sequence[Ceiling]) -> Outcome:
    """What a stored row adds up to. A stored "ok" is believed only as far as its proof and the ceilings carry it."""
    if row.status in _STATUS_OUTCOMES:
        return _STATUS_OUTCOMES[row.status]
    if row.status == "parity_failed" or any(failed(check) for check in row.proof):
        return "different"
    if not all(_shown(row, when) for when in ("before", "after")) or row.metrics is None:
        return "unproven"
    return "implausible" if _implausible(row, ceilings) else "proven"


def failed(check: Check) -> bool:
    """Whether a comparison failed; one that claims to have passed over nothing, or over differing bits, failed too."""
    if check.status == "not_applicable":
        return False
    return not (check.status == "passed" and check.values > 0 and check.differing == 0)


def why(row: Row, ceilings: Sequence[Ceiling]) -> str:
    """One line: what is wrong with a row, empty if nothing is."""
    result = outcome(row, ceilings)
    if result == "different":
        broken = [check for check in row.proof if failed(check)]
        if broken:
            return one_line(check_failure(broken[0]))
    if result == "unproven":
        return _unshown(row) or "no metrics were stored"
    if result == "implausible":
        return _implausible(row, ceilings)
    return one_line(row.reason)


def check_failure(check: Check) -> str:
    """One line: which comparison failed and how."""
    text = f"{check.differing:,} of {check.values:,} values differ" if check.values else "nothing was compared"
    return f"{check.name} ({check.when} the timed loop): {check.reason or text}"


def _implausible(row: Row, ceilings: Sequence[Ceiling]) -> str:
    """Which measured ceiling a row claims to have broken through; empty if none."""
    shares = [(point.phase, point.percent, point.roof) for point in row_points(row, ceilings) if point.roof]
    if row.metrics is not None and row.metrics.percent_of_read_ceiling is not None:
        shares.append(("decode", row.metrics.percent_of_read_ceiling, "read"))
    for phase, share, roof in shares:
        if not share <= MOST_PERCENT_OF_CEILING:
            return f"{phase} at {percent(share)} of the measured ceiling {roof}"
    return ""


def _shown(row: Row, when: When) -> bool:
    """Whether the proof is whole: the oracle agreed, and each other comparison was made or says why it could not be."""
    return not _lacking(row, when)


def _lacking(row: Row, when: When) -> tuple[str, ...]:
    """The comparisons that a row owes and has not shown."""
    checks = {check.name: check for check in row.proof if check.when == when}
    agreed = {name for name, check in checks.items() if check.status == "passed"}
    if row.device == FOREIGN:
        return () if agreed & set(ORACLES) else (ORACLES[0],)
    at_once = (VERIFIED,) if row.shape.verify else ()
    deep = (AT_DEPTH,) if row.shape.depth and when == "after" else ()
    return tuple(name for name in (*OWED, *at_once, *deep) if name not in (agreed if name == ORACLE else checks))


def _unshown(row: Row) -> str:
    """One line: which comparisons are lacking before and after the timed loop; empty if none is."""
    found: dict[str, list[str]] = {}
    for when in get_args(When):
        lacking = _lacking(row, when)
        if lacking:
            compared = any(check.when == when and check.status == "passed" for check in row.proof)
            text = f"not shown: {', '.join(lacking)}," if compared else "nothing was compared"
            found.setdefault(text, []).append(when)
    return "; ".join(f"{text} {' and '.join(times)} the timed loop" for text, times in found.items())


def _reasons(run: StoredRun) -> tuple[str, ...]:
    """Up to one reason per outcome that is not a pass, in the order of OUTCOMES, with the first row it befell."""
    reasons: list[str] = []
    ceilings = run.environment.ceilings
    for name, info in OUTCOMES.items():
        if name in ("proven", "missing"):
            continue
        rows = [row for row in run.rows if outcome(row, ceilings) == name]
        if rows:
            first = ", ".join(text for text in (f"first: row {rows[0].key}", why(rows[0], ceilings)) if text)
            reasons.append(f"{info.icon} {plural(len(rows), 'row')} {name} ({info.meaning}); {first}")
    if run.missing:
        first = f"first: row {run.missing[0].key}"
        reasons.append(f"✗ {plural(len(run.missing), 'planned row')} missing; {first}; resume the run to add them")
    peers = [peer for peer in run.peers if peer.status == "failed"]
    if peers:
        first = one_line(peers[0].reason)
        reasons.append(
            f"✗ {plural(len(peers), 'figure')} of the peer failed; first: {first}; resume the run to add them"
        )
    if not run.rows and not run.missing:
        reasons.append("? the plan holds no rows, so nothing was compared")
    reasons.extend(f"note: {one_line(problem)}" for problem in run.problems)
    return tuple(reasons)
