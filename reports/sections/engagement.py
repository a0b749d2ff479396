"""Which path each toggle took, counted from launches and graph nodes, and why not where it did not."""

from __future__ import annotations

import pandas as pd

from harness.schema import Path
from harness.store import StoredRun
from reports.document import Cell, Paragraph, Section, table
from reports.text import one_line

_STATES = {True: "✓ engaged", False: "— not engaged", None: "— not applicable"}


def section(run: StoredRun) -> Section:
    lines = [
        (one_line(name), one_line(path.asked), _STATES[path.engaged], _why(path))
        for row in run.rows
        for name, path in row.engaged.items()
    ]
    if not lines:
        return Section(title="Engagement", blocks=(Paragraph(text="No row says which paths engaged.", tone="unsure"),))
    counted = pd.Series(lines).value_counts(sort=False)
    rows = [
        (name, asked, Cell(text=state), why, f"{number:,}")
        for (name, asked, state, why), number in sorted(counted.items())
    ]
    note = "Counted from launches and graph nodes. A comparison fails if a side did not take the path it stands for."
    names = ("toggle", "asked", "state", "why", "rows")
    return Section(
        title="Engagement", blocks=(Paragraph(text=note), table("Paths by toggle", names, rows, numbers=("rows",)))
    )


def _why(path: Path) -> str:
    return one_line(path.reason) or "—"
