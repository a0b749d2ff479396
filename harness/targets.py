"""What a run is held against: a figure that rows must reach, and one that they aim at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import msgspec

from harness.errors import BadCall
from harness.sampling import is_median
from harness.schema import Metrics, PlannedRow, Row, Spread, Target
from harness.where import fields, parse_where
from harness.words import plural

State = Literal["aim met", "met", "missed", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure of a row that can have a target."""

    unit: str
    least: bool  # whether less is better
    of: Callable[[Metrics], Spread | float | None]


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "decode_tps": Figure(unit="tokens/s", least=False, of=lambda metrics: metrics.decode_tps),
        "prefill_tps": Figure(unit="tokens/s", least=False, of=lambda metrics: metrics.prefill_tps),
        "percent_of_read_ceiling": Figure(unit="%", least=False, of=lambda metrics: metrics.percent_of_read_ceiling),
        "verify_ratio": Figure(unit="x one token", least=True, of=lambda metrics: metrics.verify_ratio),
        "host_us_per_token": Figure(unit="us", least=True, of=lambda metrics: metrics.host_us_per_token),
        "first_token_seconds": Figure(unit="s", least=True, of=lambda metrics: metrics.first_token_seconds),
    }
)
"""By the name of the field of harness.schema.Metrics."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A target and one of its rows. `value` is a median; it and its range are NaN where nothing was measured."""

    target: Target
    row: str  # id
    state: State
    value: float
    low: float
    high: float
    unfit: str = ""  # why a figure that is there does not count

    def over(self, wanted: float) -> float:
        """By how much the figure is better than `wanted`, as a share of it; below zero if it is worse."""
        share = self.value / wanted - 1
        return -share if FIGURES[self.target.figure].least else share


def planned(targets: Sequence[Target], rows: Sequence[PlannedRow]) -> tuple[Target, ...]:
    """The targets that some of the planned rows have, with the ids of those."""
    known = frozenset(name for row in rows for name in fields(row))
    found = []
    for target in targets:
        wanted = parse_where(target.where, known)
        ids = tuple(row.id for row in rows if wanted(fields(row)))
        if ids:
            found.append(msgspec.structs.replace(target, rows=ids))
    return tuple(found)


def judge(target: Target, row: Row | None, *, row_id: str) -> Judged:
    """A row against a target. None stands for a row whose figures do not count: missing, broken, or not proven."""
    figure = FIGURES.get(target.figure)
    if figure is None:
        raise BadCall(f"target {target.name!r}: no figure {target.figure!r}, expected one of {', '.join(FIGURES)}")
    found = figure.of(row.metrics) if row is not None and row.metrics is not None else None
    unfit = _unfit(found, figure)
    if found is None or unfit:
        nan = math.nan
        return Judged(target=target, row=row_id, state="not measured", value=nan, low=nan, high=nan, unfit=unfit)
    value, low, high = (found.median, found.min, found.max) if isinstance(found, Spread) else (found, found, found)
    state: State = "met" if _reaches(value, target.must, figure) else "missed"
    if state == "met" and target.aim is not None and _reaches(value, target.aim, figure):
        state = "aim met"
    return Judged(target=target, row=row_id, state=state, value=value, low=low, high=high)


def _unfit(found: Spread | float | None, figure: Figure) -> str:
    """A NaN counts: it reaches nothing."""
    if not isinstance(found, Spread) or math.isnan(found.median) or is_median(found.median, found.samples):
        return ""
    return f"{found.median:,g} {figure.unit} is not the median of its {plural(len(found.samples), 'sample')}"


def _reaches(value: float, wanted: float, figure: Figure) -> bool:
    return value <= wanted if figure.least else value >= wanted
