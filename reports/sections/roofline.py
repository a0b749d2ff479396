"""Measured ceilings of the machine and how close the GPU rows come to them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.schema import Ceiling
from harness.store import StoredRun
from reports.document import Block, Cell, Paragraph, Picture, Section, Table, table
from reports.roofline import Point
from reports.text import one_line
from reports.units import count, percent, plain, short
from reports.verdict import MOST_PERCENT_OF_CEILING


def section(run: StoredRun, points: Sequence[Point]) -> Section:
    ceilings = run.environment.ceilings
    blocks: list[Block] = []
    if ceilings:
        blocks.append(ceilings_table(ceilings))
    if not points:
        why = (
            "No GPU row was timed, so there is nothing to hold against a ceiling."
            if ceilings
            else "No ceiling was measured and no GPU row was timed, so there is no speed to bound."
        )
        return Section(title="Roofline", blocks=(*blocks, Paragraph(text=why)))
    if not ceilings:
        blocks.append(Paragraph(text="Rows were timed but no ceiling was measured.", tone="unsure"))
    blocks.append(_points(points))
    alt = "Operations per second against operations per byte, with the measured ceilings"
    return Section(title="Roofline", blocks=(*blocks, Picture(file="roofline.png", alt=alt)))


def ceilings_table(ceilings: Sequence[Ceiling]) -> Table:
    rows = [
        (one_line(c.name), one_line(c.unit), plain(c.median), f"{plain(c.min)} to {plain(c.max)}", count(c.samples))
        for c in ceilings
    ]
    names = ("ceiling", "unit", "median", "range", "samples")
    return table("Ceilings measured on this machine", names, rows, numbers=("median", "range", "samples"))


def _points(points: Sequence[Point]) -> Table:
    names = (
        "key",
        "phase",
        "model",
        "weights",
        "context",
        "operations per byte",
        "operations per second",
        "of the roof",
        "roof",
    )
    ordered = sorted(points, key=lambda point: (point.phase, -point.rate, point.row))
    rows = [
        (
            point.row,
            point.phase,
            point.model,
            point.quant,
            count(point.context),
            short(point.intensity),
            short(point.rate, "OP/s"),
            _share(point),
            point.roof or "none measured",
        )
        for point in ordered
    ]
    return table("Rows against their roof, fastest first", names, rows, numbers=names[4:8], folded=len(rows) > 16)


def _share(point: Point) -> Cell:
    if not point.roof:
        return Cell(text="—")
    return Cell(text=percent(point.percent), tone="" if point.percent <= MOST_PERCENT_OF_CEILING else "bad")
