"""What a report consists of, before it is Markdown or HTML. All strings are plain text: the renderers escape them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

PILLAR = 100  # characters of a cell

Tone: TypeAlias = Literal["", "good", "bad", "unsure"]


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Command:
    """Something to type, in a box of its own."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Cell:
    text: str
    tone: Tone = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    name: str
    number: bool = False  # set flush right


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of `columns`; every row has one cell for each."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False  # long and seldom read: behind its caption
    yields: int = 0  # where space is short, tables give up rows in this order: 1 first, and never those of 0

    @property
    def broad(self) -> bool:
        """Whether long cells keep a readable width and a phone scrolls, instead of a narrow pillar of words."""
        longest = max((len(cell.text) for row in self.rows for cell in row), default=0)
        return len(self.columns) > 3 or (len(self.columns) == 3 and longest > PILLAR)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A chart that lies beside the report as `file`."""

    file: str
    alt: str


Block: TypeAlias = Paragraph | Command | Table | Picture


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())


@dataclass(frozen=True, kw_only=True)
class Document:
    """A whole report: a headline that says the verdict, the reasons for it, and the sections in reading order."""

    title: str
    icon: str
    headline: str
    tone: Tone
    reasons: tuple[str, ...]
    sections: tuple[Section, ...] = field(default=())


def table(
    caption: str,
    columns: Iterable[str],
    rows: Iterable[Iterable[str | Cell]],
    *,
    numbers: Iterable[str] = (),
    folded: bool = False,
    yields: int = 0,
) -> Table:
    """A Table from plain texts; `numbers` names the columns that are set flush right."""
    names, right = tuple(columns), set(numbers)
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(text=cell) for cell in row) for row in rows)
    for row in cells:
        if len(row) != len(names):
            raise ValueError(f"table {caption!r}: {len(row)} cells for {len(names)} columns")
    return Table(
        caption=caption,
        columns=tuple(Column(name=name, number=name in right) for name in names),
        rows=cells,
        folded=folded,
        yields=yields,
    )
