"""The score of `zeroulp selftest`, where one was stored beside a run or a gate."""

from __future__ import annotations

from pathlib import Path

from harness.gate.schema import SelftestScore
from harness.selftest import SELFTEST, read_selftest
from harness.words import plural
from reports.text import one_line

MOST_NAMES = 20  # of planted faults that were missed


def stored_score(folder: Path) -> SelftestScore | None:
    """Of a folder's selftest.json; None where there is none. Raises BadCall for one that cannot be read."""
    path = folder / SELFTEST
    return read_selftest(path).score() if path.exists() else None


def in_words(score: SelftestScore | None) -> str:
    """One line: how many planted faults the suites catch, and the names of those they miss."""
    if score is None:
        return "selftest: not run on this code"
    text = f"selftest: the suites catch {score.caught} of {plural(score.planted, 'planted fault')}"
    if score.catalogue > score.planted:
        text += f", a part of {score.catalogue}"
    if not score.missed:
        return text
    names = ", ".join(one_line(name, longest=60) for name in score.missed[:MOST_NAMES])
    more = f" and {len(score.missed) - MOST_NAMES:,} more" if len(score.missed) > MOST_NAMES else ""
    return f"{text}; missed: {names}{more}"
