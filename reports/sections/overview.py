"""The top of the report: the verdict, how every planned row ended, and what the exit code means."""

from __future__ import annotations

from harness.gate.schema import SelftestScore
from harness.store import StoredRun
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Section, table
from reports.reproduce import configuration
from reports.selftest import in_words
from reports.verdict import EXIT_MEANINGS, OUTCOMES, Verdict, outcome, why

MOST_ROWS = 40  # of the list of rows that did not end as they should


def section(run: StoredRun, verdict: Verdict, selftest: SelftestScore | None = None) -> Section:
    planned = len(run.rows) + len(run.missing)
    counts = [
        (
            Cell(text=f"{info.icon} {name}", tone=info.tone if verdict.counts[name] else ""),
            f"{verdict.counts[name]:,}",
            info.meaning,
        )
        for name, info in OUTCOMES.items()
    ]
    blocks: list[Block] = [
        Paragraph(text=f"Exit code {verdict.exit_code}: {EXIT_MEANINGS[verdict.exit_code]}.", tone=verdict.tone),
        table(
            f"How the {plural(planned, 'planned row')} ended", ("outcome", "rows", "meaning"), counts, numbers=("rows",)
        ),
    ]
    if selftest is not None:
        blocks.append(Paragraph(text=in_words(selftest), tone="unsure" if selftest.missed else ""))
    wrong = _wrong(run)
    if wrong:
        shown = f", the first {MOST_ROWS} of {len(wrong)}" if len(wrong) > MOST_ROWS else ""
        columns = ("key", "outcome", "configuration", "why")
        blocks.append(table(f"Rows that are not proven{shown}", columns, wrong[:MOST_ROWS]))
    return Section(title="Verdict", blocks=tuple(blocks))


def _wrong(run: StoredRun) -> list[tuple[str | Cell, ...]]:
    """Every row that is neither proven nor not applicable, and every missing one, in the order of OUTCOMES."""
    ceilings = run.environment.ceilings
    found: list[tuple[str | Cell, ...]] = []
    for name, info in OUTCOMES.items():
        cell = Cell(text=f"{info.icon} {name}", tone=info.tone)
        if name == "missing":
            found.extend((row.key, cell, configuration(row), "no result was stored") for row in run.missing)
        elif info.exit_code:
            rows = [row for row in run.rows if outcome(row, ceilings) == name]
            found.extend((row.key, cell, configuration(row), why(row, ceilings)) for row in rows)
    return found
