"""What a gate adds up to and how its verdicts are shown. A gate.json is believed as far as its own rows carry it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from harness.gate.schema import GateResult, ParityCheck, RowVerdict, Verdict
from harness.words import plural
from reports.document import Tone
from reports.text import one_line
from reports.verdict import EXIT_CODES, PRECEDENCE

HEADLINE = 240  # characters of a gate's own headline


@dataclass(frozen=True, kw_only=True)
class VerdictInfo:
    """A row's verdict: icon and word, and the exit code that it asks for."""

    icon: str
    word: str
    tone: Tone
    exit_code: int = 0

    @property
    def shown(self) -> str:
        return f"{self.icon} {self.word}"


# In the order in which rows are read, and the reverse of that in which they give way.
VERDICTS: dict[Verdict, VerdictInfo] = {
    "wrong": VerdictInfo(icon="✗", word="wrong", tone="bad", exit_code=1),
    "missing": VerdictInfo(icon="✗", word="missing", tone="bad", exit_code=2),
    "broken": VerdictInfo(icon="✗", word="broken", tone="bad", exit_code=2),
    "slower": VerdictInfo(icon="✗", word="slower", tone="bad", exit_code=1),
    "faster": VerdictInfo(icon="▲", word="faster", tone="good"),
    "cannot_tell": VerdictInfo(icon="?", word="cannot tell", tone="unsure", exit_code=3),
    "accepted": VerdictInfo(icon="●", word="accepted", tone=""),
    "same": VerdictInfo(icon="✓", word="same", tone="good"),
}
MOVED: tuple[Verdict, ...] = ("wrong", "missing", "broken", "slower", "faster")
WORDS = {0: "PASS", 1: "REGRESSION", 2: "BROKEN", 3: "CANNOT TELL"}
ADVICE = {
    0: "No action needed.",
    1: "Please read: a confirmed regression. One that is intended is accepted in a file, with its reason and expiry.",
    2: "Please read: the measurement is not whole, and what is missing is never a pass.",
    3: "Neither pass nor failure: run it again, on a quieter machine if it stays so.",
}


def exit_code(result: GateResult) -> int:
    """The gate's own exit code, or a worse one that a row or check of it asks for: no failure is hidden."""
    codes = {result.exit_code if result.exit_code in EXIT_CODES else 2}
    codes |= {VERDICTS[row.verdict].exit_code for row in result.rows}
    codes |= {1} if parity_failed(result) else set()
    codes |= {3} if not result.rows or any(canary.moved for canary in result.canaries) else set()
    return next(code for code in PRECEDENCE if code in codes)


def parity_failed(result: GateResult) -> bool:
    return bool(result.parity.first_divergence) or any(check_failed(check) for check in result.parity.checks)


def check_failed(check: ParityCheck) -> bool:
    return bool(check.failed or check.differing)


def headline(result: GateResult) -> str:
    """One line: the gate's words, or ours where they claim more than its rows carry."""
    code = exit_code(result)
    if code == result.exit_code and result.headline.startswith(f"{WORDS[code]}: "):
        return one_line(result.headline, longest=HEADLINE)
    return f"{WORDS[code]}: {counted(result) or 'no row was judged'}"


def contradiction(result: GateResult) -> str:
    """One line if gate.json's exit code is not what its own rows ask for, else empty."""
    code = exit_code(result)
    if code == result.exit_code:
        return ""
    return f"gate.json says exit code {result.exit_code}, what it holds asks for {code}"


def counted(result: GateResult) -> str:
    """How many verdicts of each kind: "1 slower, 38 same"."""
    counts = Counter(row.verdict for row in result.rows)
    return ", ".join(f"{counts[name]:,} {info.word}" for name, info in VERDICTS.items() if counts[name])


def advice(result: GateResult) -> str:
    """What a reader should do about it."""
    code = exit_code(result)
    if code == 1 and (parity_failed(result) or any(row.verdict == "wrong" for row in result.rows)):
        return "Please read: bits differ, and that is never accepted."
    if code == 0:
        accepted = sum(row.verdict == "accepted" for row in result.rows)
        return f"No action needed; {plural(accepted, 'accepted change')} listed below." if accepted else ADVICE[0]
    return ADVICE[code]


def in_reading_order(rows: tuple[RowVerdict, ...], *verdicts: Verdict) -> tuple[RowVerdict, ...]:
    """Rows of these verdicts: by verdict, and within one the largest change first."""
    order = {name: place for place, name in enumerate(VERDICTS)}
    found = [row for row in rows if row.verdict in verdicts]
    return tuple(sorted(found, key=lambda row: (order[row.verdict], -abs((row.ratio or 1.0) - 1.0))))


def paired(result: GateResult, row: RowVerdict) -> bool:
    """False for a time of two separate runs, of which no verdict is made."""
    stored = "run" in (result.base.kind, result.head.kind)
    return not (stored and row.metric in ("decode", "prefill") and row.verdict == "cannot_tell")
