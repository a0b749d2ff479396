"""Launches, kernels of graphs, bytes and operations per token, by the settings that change them."""

from __future__ import annotations

import math

import pandas as pd

from reports.document import Block, Paragraph, Picture, Section, Table, table
from reports.frames import WORK, configuration_columns, deciding, describe, varying
from reports.units import count, short

HEADINGS = (
    "launches",
    "graph kernels",
    "prefill launches",
    "bytes",
    "operations",
    "prefill bytes",
    "prefill operations",
)
UNITS = ("", "", "", "B", "OP", "B", "OP")


def section(rows: pd.DataFrame) -> Section:
    made = rows[rows[list(WORK)].notna().any(axis=1)]
    blocks: list[Block] = []
    if len(made):
        counted = made["launches_per_token"].notna().any()
        text = "Launches and graph kernels were counted; bytes" if counted else "Nothing was counted; bytes"
        text += " and operations follow from tensor list and KV cache."
        blocks.extend((Paragraph(text=text), _table(made)))
    else:
        blocks.append(Paragraph(text="No row of this run has figures.", tone="unsure"))
    alt = "Launches, bytes and operations per token, one bar for every setting that changes them"
    return Section(title="Work per token", blocks=(*blocks, Picture(file="work.png", alt=alt)))


def _table(made: pd.DataFrame) -> Table:
    """One line for every combination of settings with figures of its own."""
    columns = varying(made, configuration_columns(made))
    kept = deciding(made, columns, WORK)
    lines = made.drop_duplicates([*kept, *WORK])
    same = [name.removeprefix("toggle ") for name in columns if name not in kept]
    caption = f"By setting; the same for every {', '.join(same)}" if same else "By setting"
    cells = [
        (
            describe(line, kept) or "every row",
            *(_figure(line[name], unit) for name, unit in zip(WORK, UNITS, strict=True)),
        )
        for _, line in lines.iterrows()
    ]
    return table(caption, ("setting", *HEADINGS), cells, numbers=HEADINGS, folded=len(cells) > 16)


def _figure(value: float, unit: str) -> str:
    if math.isnan(value):
        return "—"  # an engine that is not ours has nothing to count
    return short(value, unit) if unit else count(value)
