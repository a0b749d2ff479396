"""parity.png: what was compared with what, as a matrix of configurations against checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.words import plural
from reports.charts.style import FONT, Theme, dress, headline, new_figure
from reports.frames import common, describe, naming
from reports.text import label
from reports.units import short
from reports.verdict import OUTCOMES

FIRST_EXTRA = 0.5  # of a column
MOST_LINES, MOST_CHECKS = 80, 6
GROUPED_BY = ("device", "model", "quant", "depth", "context", "prompt", "generated", "verify", "toggle kv")

State: TypeAlias = Literal["good", "bad", "unsure", "blank"]
_ORDER: tuple[State, ...] = ("bad", "unsure", "good", "blank")


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One cell of the matrix: a state and the words for it (the mark is part of the words)."""

    state: State
    text: str


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """`marks[i][j]` belongs to `lines[i]` and `columns[j]`; lines with a failure come first if some had to go."""

    lines: tuple[str, ...]
    columns: tuple[str, ...]
    subject: str  # what all lines share
    by_bits: bool  # all of it; or some against the bound of an engine that is not ours
    marks: tuple[tuple[Mark, ...], ...]
    note: str


def matrix(rows: pd.DataFrame, checks: pd.DataFrame) -> Matrix:
    """Group the rows by what is computed; toggles that must not change a bit share a line."""
    keys = [name for name in GROUPED_BY if name in rows.columns]
    shown = [name for name in naming(rows.drop_duplicates(keys)) if name in keys]
    names = list(dict.fromkeys(checks["check"]))
    lines: list[tuple[int, str, tuple[Mark, ...]]] = []
    for _, group in rows.groupby(keys, sort=False, dropna=False):
        mine = checks[checks["id"].isin(group["id"])]
        marks = (_rows_mark(group), *(_check_mark(mine[mine["check"] == name]) for name in names[:MOST_CHECKS]))
        worst = min(_ORDER.index(mark.state) for mark in marks)
        lines.append((worst, label(describe(group.iloc[0], shown), longest=56), marks))
    notes = []
    if len(lines) > MOST_LINES:
        left_out = sorted(lines, key=lambda line: line[0])[MOST_LINES:]
        notes.append(f"{plural(len(left_out), 'more configuration')} not drawn, failures are drawn first")
        lines = sorted(lines, key=lambda line: line[0])[:MOST_LINES]
    if len(names) > MOST_CHECKS:
        notes.append(f"{plural(len(names) - MOST_CHECKS, 'more check')} not drawn")
    return Matrix(
        lines=tuple(line[1] for line in lines),
        columns=("rows", *(label(name, longest=28, width=15) for name in names[:MOST_CHECKS])),
        subject=label(common(rows), longest=60),
        by_bits=not (checks["bound"] != "").any(),
        marks=tuple(line[2] for line in lines),
        note="; ".join(notes),
    )


def draw(cells: Matrix, theme: Theme) -> Figure:
    """The picture of a matrix."""
    figure = new_figure(theme, height=1.5 + 0.3 * max(1, len(cells.lines)))
    axes = figure.add_subplot()
    dress(axes, theme)
    for y, marks in enumerate(cells.marks):
        for x, mark in enumerate(marks):
            _cell(axes, x, y, mark, theme, FONT - 1 if len(marks) < 6 else FONT - 2.5)
    if not cells.lines:
        axes.text(_middle(0), 0, "Nothing was compared.", ha="center", va="center", fontsize=FONT + 2, color=theme.ink)
    axes.set_xticks([_middle(x) for x in range(len(cells.columns))], labels=cells.columns, fontsize=FONT - 1)
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(cells.lines)), labels=cells.lines)
    axes.set_xlim(_left(0), _left(len(cells.columns)))
    axes.set_ylim(max(1, len(cells.lines)) - 0.5, -0.5)
    title = "Parity: values compared by bits" + ("" if cells.by_bits else " or within a bound")
    headline(axes, " · ".join(text for text in (title, cells.subject) if text), theme, pad=12)
    equal = "all equal" if cells.by_bits else "all equal or within the bound"
    legend = f"✓ {equal}    ✗ differ, crashed or missing    ? not shown on every row    — not applicable or not made"
    axes.set_xlabel(f"{legend}\n{cells.note}" if cells.note else legend, labelpad=8, loc="right")
    return figure


def _cell(axes: Axes, x: int, y: int, mark: Mark, theme: Theme, size: float) -> None:
    fill = {"good": theme.good, "bad": theme.bad, "unsure": theme.unsure, "blank": theme.blank}[mark.state]
    left, right = _left(x) + 0.02, _left(x + 1) - 0.02
    axes.add_patch(Rectangle((left, y - 0.44), right - left, 0.88, facecolor=fill, edgecolor=theme.grid, linewidth=0.6))
    ink = theme.bad_ink if mark.state == "bad" else theme.soft if mark.state == "blank" else theme.ink
    weight = "bold" if mark.state == "bad" else "normal"
    axes.text(_middle(x), y, mark.text, ha="center", va="center", fontsize=size, color=ink, fontweight=weight)


def _left(column: int) -> float:
    """Where a column begins; the first is wider, its words are longer."""
    return column + FIRST_EXTRA if column else 0.0


def _middle(column: int) -> float:
    return (_left(column) + _left(column + 1)) / 2


def _rows_mark(group: pd.DataFrame) -> Mark:
    """How many of the rows of a line are proven; the worst outcome names itself."""
    total = len(group)
    counts = {name: int((group["outcome"] == name).sum()) for name, info in OUTCOMES.items() if info.exit_code}
    wrong = {name: number for name, number in counts.items() if number}
    if wrong:
        unsure = all(OUTCOMES[name].tone == "unsure" for name in wrong)
        word = next(iter(wrong)) if len(wrong) == 1 else "not proven"
        text = f"{'?' if unsure else '✗'} {sum(wrong.values())} of {total} {word}"
        return Mark(state="unsure" if unsure else "bad", text=text)
    proven = int((group["outcome"] == "proven").sum())
    if proven == 0:
        return Mark(state="blank", text="— not applicable")
    return Mark(state="good", text=f"✓ {proven} of {total} proven")


def _check_mark(checks: pd.DataFrame) -> Mark:
    """All comparisons of one name on one line."""
    if checks.empty:
        return Mark(state="blank", text="— not made")
    made = checks[checks["state"] != "not applicable"]
    if made.empty:
        return Mark(state="blank", text="— not applicable")
    values, differing = int(made["values"].sum()), int(made["differing"].sum())
    failures = int((made["state"] == "failed").sum())
    if failures and differing:
        return Mark(state="bad", text=f"✗ {short(differing)} differ")
    if failures:
        return Mark(state="bad", text=f"✗ {failures} of {len(made)} failed")
    return Mark(state="good", text=f"✓ {short(values)}")
