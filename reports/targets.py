"""The figures of a run beside the targets that its plan holds. Only figures of proven rows count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.store import StoredRun
from harness.targets import FIGURES, Judged, judge
from harness.words import plural
from reports.text import one_line
from reports.units import figure, percent
from reports.verdict import outcome, why

HEADINGS = ("target", "figure", "least, most", "must", "aim", "")


@dataclass(frozen=True, kw_only=True)
class Held:
    """One target and one of its rows, with the reason if there is no figure, or what is to be said of the row."""

    judged: Judged
    reason: str

    @property
    def words(self) -> str:
        """Met or missed, and by how much."""
        if self.judged.state == "not measured":
            return f"? not measured: {self.reason}"
        return "; ".join(text for text in (self._by_how_much, self.reason) if text)

    @property
    def _by_how_much(self) -> str:
        judged, target = self.judged, self.judged.target
        if judged.state == "missed":
            return f"✗ missed by {percent(-100 * judged.over(target.must))}"
        if judged.state == "aim met" and target.aim is not None:
            return f"✓ aim met, {percent(100 * judged.over(target.aim))} better"
        text = f"✓ met, {percent(100 * judged.over(target.must))} better"
        return text if target.aim is None else f"{text}; {percent(-100 * judged.over(target.aim))} short of the aim"

    def cells(self) -> tuple[str, ...]:
        """In the order of HEADINGS."""
        judged, target = self.judged, self.judged.target
        unit = FIGURES[target.figure].unit
        measured = judged.state != "not measured"
        shown = (f"{figure(judged.value)} {unit}", f"{figure(judged.low)}, {figure(judged.high)}")
        aim = figure(target.aim) if target.aim is not None else "—"
        return (one_line(target.name), *(shown if measured else ("—", "—")), figure(target.must), aim, self.words)

    def facts(self) -> dict[str, str | float | None]:
        """For a machine; figures are in the unit of harness.targets.FIGURES."""
        judged, target = self.judged, self.judged.target
        measured = judged.state != "not measured"
        return {
            "name": target.name,
            "row": judged.row,
            "figure": target.figure,
            "unit": FIGURES[target.figure].unit,
            "value": judged.value if measured else None,
            "least": judged.low if measured else None,
            "most": judged.high if measured else None,
            "must": target.must,
            "aim": target.aim,
            "state": judged.state,
            "reason": self.reason,
        }


def held(run: StoredRun) -> tuple[Held, ...]:
    """Every target of the plan with each of its rows, in the order of the plan."""
    stored = {row.id: row for row in run.rows}
    ceilings = run.environment.ceilings
    found = []
    for target in run.plan.targets:
        for name in target.rows:
            row = stored.get(name)
            result = outcome(row, ceilings) if row is not None else "missing"
            judged = judge(target, row if result == "proven" else None, row_id=name)
            text = why(row, ceilings) if row is not None else ""
            found.append(Held(judged=judged, reason=_reason(judged, result, text)))
    return tuple(found)


def _reason(judged: Judged, result: str, text: str) -> str:
    if judged.state != "not measured":
        return text
    if result == "proven":
        return judged.unfit or "the row has no such figure"
    return f"the row is {result}" + (f" ({text})" if text else "")


def summary(found: Sequence[Held]) -> str:
    """One line: how many are met."""
    states = [item.judged.state for item in found]
    parts = [f"{states.count('aim met') + states.count('met')} of {plural(len(found), 'target')} met"]
    parts += [f"{states.count('aim met')} of them with their aim"] if states.count("aim met") else []
    parts += [f"{states.count('not measured')} not measured"] if states.count("not measured") else []
    return ", ".join(parts)


def lines(found: Sequence[Held]) -> list[str]:
    """A table for a terminal, one line for each and a summary; empty without targets."""
    if not found:
        return []
    cells = [HEADINGS, *(item.cells() for item in found)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(HEADINGS))]
    aligned = [_aligned(line, widths) for line in cells]
    return [*aligned, f"{summary(found)}; a missed target does not change the exit code"]


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Words flush left, figures flush right."""
    name, *figures, words = cells
    middle = [cell.rjust(width) for cell, width in zip(figures, widths[1:-1], strict=True)]
    return "  ".join([name.ljust(widths[0]), *middle, words]).rstrip()
