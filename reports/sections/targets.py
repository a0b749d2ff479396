"""What the run was held against: every target with its figure, and by how much it is met or missed."""

from __future__ import annotations

from collections.abc import Sequence

from reports.document import Cell, Paragraph, Section, Tone, table
from reports.targets import HEADINGS, Held, summary

TONES: dict[str, Tone] = {"aim met": "good", "met": "good", "missed": "bad", "not measured": "unsure"}


def section(found: Sequence[Held]) -> Section:
    """Only for runs with targets."""
    rows: list[tuple[str | Cell, ...]] = [
        (*item.cells()[:-1], Cell(text=item.words, tone=TONES[item.judged.state])) for item in found
    ]
    text = f"{summary(found)}. Medians; only proven rows count, and a missed target does not change the verdict."
    names = (*HEADINGS[:-1], "met or missed")
    caption = "Figures against their targets"
    return Section(title="Targets", blocks=(Paragraph(text=text), table(caption, names, rows, numbers=names[1:5])))
