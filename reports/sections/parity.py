"""What was compared, how many values, what differs, and where the first difference is."""

from __future__ import annotations

import pandas as pd

from harness.check_id import WORDS, check_id
from harness.schema import FOREIGN, Check, Row
from harness.store import StoredRun
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Picture, Section, Tone, table
from reports.reproduce import command, configuration, typed
from reports.text import one_line
from reports.verdict import check_failure, failed

MOST_FAILURES = 40


def section(run: StoredRun, checks: pd.DataFrame) -> Section:
    blocks: list[Block] = [_summary(run, checks), *_first_difference(run)]
    if len(checks):
        columns = ("check", "comparisons", "passed", "failed", "not applicable", "values", "differing", "worst")
        rows = [_by_check(str(name), group) for name, group in checks.groupby("check", sort=False)]
        blocks.append(table("By check, before and after the timed loop together", columns, rows, numbers=columns[1:]))
    failures = [(row, check) for row in run.rows for check in row.proof if failed(check)]
    if failures:
        names = ("id", "row", "failed check", "first difference", "left side", "right side")
        shown = f", the first {MOST_FAILURES} of {len(failures)}" if len(failures) > MOST_FAILURES else ""
        lines = [_failure(row, check) for row, check in failures[:MOST_FAILURES]]
        blocks.append(table(f"Failed comparisons{shown}", names, lines))
    alt = "Matrix of configurations against checks: number of values compared and whether all were equal"
    blocks.append(Picture(file="parity.png", alt=alt))
    blocks.extend(_not_applicable(run))
    return Section(title="Parity", blocks=tuple(blocks))


def _summary(run: StoredRun, checks: pd.DataFrame) -> Paragraph:
    every = checks[checks["state"] != "not applicable"]
    made, loose = every[every["bound"] == ""], every[every["bound"] != ""]
    values, differing = int(made["values"].sum()), int(made["differing"].sum())
    failures = int((every["state"] == "failed").sum())
    if values == 0 and not len(loose):
        return Paragraph(text="Nothing was compared.", tone="unsure")
    worst = made["worst_ulp"].max()
    rows = made["id"].nunique()
    text = f"{values:,} values compared by bits in {plural(len(made), 'comparison')} of {plural(rows, 'row')}"
    text += f": {differing:,} differ"
    if differing:
        text += f", worst {_ulp(worst)}" if pd.notna(worst) else ", none of them between finite values"
    tail = f"{plural(failures, 'comparison')} failed." if failures else "No comparison failed."
    if len(loose):
        compared = f"{int(loose['values'].sum()):,} values in {plural(len(loose), 'comparison')}"
        tail = f"{compared} were held against the bound of a foreign engine, not by bits. {tail}"
    return Paragraph(text=f"{text}. {tail}", tone="bad" if failures else "good")


def _first_difference(run: StoredRun) -> list[Block]:
    """The first failed comparison of the run: where, both values, and the command that makes it again."""
    for row in run.rows:
        for check in row.proof:
            if failed(check):
                text = f"First: {one_line(check_id(row.key, check))}, {one_line(check_failure(check))}."
                if check.first_difference:
                    text += f" First difference at {one_line(check.first_difference)}."
                again = f"The row is {configuration(row)}. To make it again:"
                what = Paragraph(text=text, tone="bad")
                return [what, *_alone(row, check), Paragraph(text=again), typed(command(run, row))]
    return []


def _alone(row: Row, check: Check) -> list[Block]:
    """The command that makes one check again, which only rows of ours have."""
    if row.device == FOREIGN or check.name not in WORDS.values():
        return []
    words = Paragraph(text="That check alone, and where its sides part, RUN being the folder of this run:")
    return [words, typed(f"zeroulp parity RUN --check {check_id(row.key, check)}")]


def _by_check(name: str, group: pd.DataFrame) -> tuple[str | Cell, ...]:
    states = group["state"].value_counts()
    passed, failures, idle = (int(states.get(state, 0)) for state in ("passed", "failed", "not applicable"))
    made = group[group["state"] != "not applicable"]
    worst = made["worst_ulp"].max()
    icon, tone = _passed_or_not(passed, failures)
    return (
        Cell(text=f"{icon} {name}{_bounds(group)}", tone=tone),
        f"{len(group):,}",
        f"{passed:,}",
        Cell(text=f"{failures:,}", tone="bad" if failures else ""),
        f"{idle:,}",
        f"{int(made['values'].sum()):,}",
        Cell(text=f"{int(made['differing'].sum()):,}", tone="bad" if made["differing"].sum() else ""),
        _ulp(worst) if pd.notna(worst) else ("0 ulp" if len(made) and not made["differing"].sum() else "—"),
    )


def _bounds(group: pd.DataFrame) -> str:
    """What the comparisons of one name allowed; empty where all were by bits."""
    found = [bound for bound in group["bound"].unique() if bound]
    return f" (at most {' or '.join(found)})" if found else ""


def _passed_or_not(passed: int, failures: int) -> tuple[str, Tone]:
    if failures:
        return "✗", "bad"
    return ("✓", "good") if passed else ("—", "")


def _failure(row: Row, check: Check) -> tuple[str | Cell, ...]:
    return (
        one_line(check_id(row.key, check)),
        configuration(row),
        Cell(text=f"✗ {one_line(check_failure(check))}", tone="bad"),
        one_line(check.first_difference) or "—",
        one_line(check.left) or "—",
        one_line(check.right) or "—",
    )


def _not_applicable(run: StoredRun) -> list[Block]:
    """Comparisons that could not be made here, counted by reason: they are not passes."""
    idle = [
        (one_line(check.name), one_line(check.reason) or "no reason given")
        for row in run.rows
        for check in row.proof
        if check.status == "not_applicable"
    ]
    if not idle:
        return []
    counted = pd.Series(idle).value_counts(sort=False)
    rows = [(name, reason, f"{number:,}") for (name, reason), number in counted.items()]
    return [
        table(
            "Comparisons that do not apply here; they count as not made",
            ("check", "reason", "comparisons"),
            rows,
            numbers=("comparisons",),
        )
    ]


def _ulp(worst: float) -> str:
    return f"{int(worst):,} ulp"
