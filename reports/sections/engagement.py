"""Which path each toggle took, counted from launches and graph nodes, and why not where it did not."""

from __future__ import annotations

import pandas as pd

from harness.schema import Path
from harness.store import StoredRun
from reports.document import Paragraph, Section, table
from reports.text import one_line

NONE = "—"
_STATES = {True: "✓ engaged", False: "— not engaged", None: "— not applicable"}


def section(run: StoredRun) -> Section:
    paths = [(one_line(name), path) for row in run.rows for name, path in row.engaged.items()]
    if not paths:
        return Section(title="Engagement", blocks=(Paragraph(text="No row says which paths engaged.", tone="unsure"),))
    lines = pd.DataFrame(
        [_line(name, path) for name, path in paths], columns=["toggle", "asked", "state", "why", "counts"]
    )
    grouped = lines.groupby(["toggle", "asked", "state", "why"])["counts"].agg(["first", "size"])
    rows = [
        (*(str(part) for part in key), str(counts) or NONE, f"{size:,}")
        for key, counts, size in zip(grouped.index, grouped["first"], grouped["size"], strict=True)
    ]
    note = "Counted from launches and graph nodes. A comparison fails if a side did not take the path it stands for."
    names = ("toggle", "asked", "state", "why", "counts of the first such row", "rows")
    blocks = (Paragraph(text=note), table("Paths by toggle", names, rows, numbers=("rows",)))
    return Section(title="Engagement", blocks=blocks)


def _line(name: str, path: Path) -> tuple[str, ...]:
    return name, one_line(path.asked), _STATES[path.engaged], one_line(path.reason) or NONE, one_line(path.detail)
