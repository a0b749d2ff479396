"""Fitting a report into so many bytes: tables give up rows in their order, and every cut is said."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeGuard

from harness.words import plural
from reports.document import Block, Document, Paragraph, Table
from reports.markdown import table_row

_NOTE = 160  # bytes at most that one table's note of what was cut adds, its share of the reason on top included


def fit(document: Document, limit: int, render: Callable[[Document], str], *, whole: str) -> Document:
    """The document with as few rows cut as make its rendering `limit` bytes or less; it may still be longer.

    Rows go from the end of the tables that yield first. `whole` names where the reader finds what was cut.
    """
    excess = len(render(document).encode()) - limit
    if excess <= 0:
        return document
    tables = [block for section in document.sections for block in section.blocks if _gives(block)]
    excess += _NOTE * len(tables)
    kept: dict[int, int] = {}  # of the place in `tables`
    for place in sorted(range(len(tables)), key=lambda place: tables[place].yields):
        number = len(tables[place].rows)
        while number and excess > 0:
            number -= 1
            excess -= len(table_row(tables[place].rows[number]).encode()) + 1
        kept[place] = number
    lost = sum(len(table.rows) - kept[place] for place, table in enumerate(tables))
    note = f"{plural(lost, 'line')} of the tables below left out for space; {whole} has all"
    shortened = iter(_shortened(table, kept[place]) for place, table in enumerate(tables))
    sections = (
        replace(section, blocks=tuple(next(shortened) if _gives(block) else block for block in section.blocks))
        for section in document.sections
    )
    return replace(document, reasons=(*document.reasons, note), sections=tuple(sections))


def _gives(block: Block) -> TypeGuard[Table]:
    return isinstance(block, Table) and block.yields > 0


def _shortened(table: Table, number: int) -> Block:
    cut = len(table.rows) - number
    if not cut:
        return table
    caption = f"{table.caption} ({cut:,} of {len(table.rows):,} left out for space)"
    return replace(table, caption=caption, rows=table.rows[:number]) if number else Paragraph(text=caption)
