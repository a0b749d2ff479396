"""The score of `zeroulp selftest`, where one was stored beside a run or a gate."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import BadCall
from harness.gate.schema import SelftestScore
from reports.text import one_line
from reports.units import plural

SELFTEST = "selftest.json"  # what `zeroulp selftest --json` prints
MOST_NAMES = 20  # of planted faults that were missed


class _Fault(msgspec.Struct, frozen=True):
    name: str
    caught: bool


class _Faults(msgspec.Struct, frozen=True):
    faults: tuple[_Fault, ...]


def stored_score(folder: Path) -> SelftestScore | None:
    """Of a folder's selftest.json; None where there is none. Raises BadCall for one that cannot be read."""
    path = folder / SELFTEST
    return read_score(path) if path.exists() else None


def read_score(path: Path) -> SelftestScore:
    """Of what `zeroulp selftest --json` printed. Raises BadCall for a file that cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_Faults)
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    except msgspec.MsgspecError as error:
        raise BadCall(f"{path}: not what `zeroulp selftest --json` prints ({error})") from None
    missed = tuple(fault.name for fault in found.faults if not fault.caught)
    return SelftestScore(caught=len(found.faults) - len(missed), planted=len(found.faults), missed=missed)


def in_words(score: SelftestScore | None) -> str:
    """One line: how many planted faults the suites catch, and the names of those they miss."""
    if score is None:
        return "selftest: no score is stored"
    text = f"selftest: the suites catch {score.caught} of {plural(score.planted, 'planted fault')}"
    if not score.missed:
        return text
    names = ", ".join(one_line(name, longest=60) for name in score.missed[:MOST_NAMES])
    more = f" and {len(score.missed) - MOST_NAMES:,} more" if len(score.missed) > MOST_NAMES else ""
    return f"{text}; missed: {names}{more}"
