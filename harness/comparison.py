"""Rows of two stored runs side by side, joined by what is measured.

Two runs are not paired: a time counts as moved only where the medians are two per cent apart and each lies outside the
other's range. What can be counted, and what was proven, moved if it is not the same. `zeroulp gate` is what judges.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from harness.check_id import check_id
from harness.errors import BadCall
from harness.merge import worst_by_key
from harness.progress import row_name
from harness.schema import Check, Environment, PlannedRow, Record, Row, Samples, Spread
from harness.store import StoredRun
from harness.words import plural

COMPARISON_SCHEMA = 1
FLOOR = 0.02  # of a time's median
NOT_RUN = "not run"  # status of a row that was planned only
TIMES = ("prefill_tps", "decode_tps", "host_us_per_token")
COUNTS = (
    "launches_per_token", "graph_kernels_per_token", "prefill_launches_per_token", "bytes_per_token",
    "operations_per_token", "prefill_bytes_per_token", "prefill_operations_per_token", "memory_bytes",
)  # fmt: skip
DERIVED = ("percent_of_read_ceiling",)  # moves only with what it is made of
UNSTABLE = ("id", "schema", "command", "ceilings")  # of an environment: not facts of where a run was made


class Figure(Record, frozen=True, kw_only=True):
    """One number of a row on both sides; None where a side does not have it."""

    name: str
    a: float | None
    b: float | None
    ratio: float | None  # b / a
    moved: bool
    a_range: tuple[float, float] | None = None  # of repeats
    b_range: tuple[float, float] | None = None


class RowPair(Record, frozen=True, kw_only=True):
    """A row of either run. `moved` says in words what is not the same; a row that only one run has is no move."""

    key: str
    label: str
    found: Literal["both", "only a", "only b"]
    a: str  # status, NOT_RUN where it was planned only, "" where it is not in that run
    b: str
    a_proof: str  # checks by outcome
    b_proof: str
    samples: tuple[str, ...] = ()  # how each time was measured, side by side
    checks: tuple[str, ...] = ()  # each with its id, and what it gave on both sides
    figures: tuple[Figure, ...] = ()
    moved: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()  # those of `moved` that say that B shows less than A: a check, or values of one


class Comparison(Record, frozen=True, kw_only=True):
    """Moved rows first, then those that only one run has, then the rest; within that in the order of A."""

    schema: int = COMPARISON_SCHEMA
    a: str  # folder
    b: str
    environments: tuple[str, ...]  # how they differ; empty if they do not
    problems: tuple[str, ...]  # of reading either
    rows: tuple[RowPair, ...]
    shared: bool = False  # whether the rows that both have are enough

    @property
    def vanished(self) -> int:
        """Rows that A has alone, less those that could not be in it either."""
        return sum(row.found == "only a" and row.a != "not_applicable" for row in self.rows)

    @property
    def less(self) -> int:
        """Rows of both that are called ok in both, with less of a proof in B."""
        return sum(row.a == row.b == "ok" and bool(row.lost) for row in self.rows)

    @property
    def exit_code(self) -> int:
        """1 if B lacks the proof of a row that A has; 3 if it shows less of one, lacks a row, or none is in both."""
        both = [row for row in self.rows if row.found == "both"]
        if any(row.a == "ok" and row.b != "ok" for row in both):
            return 1
        unmade = any(row.b == NOT_RUN for row in self.rows)
        return 3 if not both or self.less or unmade or (self.vanished and not self.shared) else 0


def compare_runs(a: StoredRun, b: StoredRun, *, shared: bool = False) -> Comparison:
    """B beside A. `shared`: rows that A has alone are meant to be."""
    left, right = _by_key(a), _by_key(b)
    pairs = [_pair(key, left.get(key), right.get(key)) for key in dict.fromkeys((*left, *right))]
    order = {"both": 2, "only a": 1, "only b": 1}
    return Comparison(
        a=str(a.folder),
        b=str(b.folder),
        environments=tuple(_environments(a.environment, b.environment)),
        problems=tuple(f"{run.folder}: {text}" for run in (a, b) for text in run.problems),
        rows=tuple(sorted(pairs, key=lambda pair: 0 if pair.moved else order[pair.found])),
        shared=shared,
    )


def row_of(found: Comparison, key: str) -> RowPair:
    """By its key or the beginning of it. Raises BadCall."""
    rows = [row for row in found.rows if row.key.startswith(key)]
    if len(rows) != 1 or not key:
        known = ", ".join(row.key for row in found.rows[:3])
        raise BadCall(
            f"--explain {key!r}: {plural(len(rows), 'row has', 'rows have')} such a key, expected one, such as {known}"
        )
    return rows[0]


def _by_key(run: StoredRun) -> dict[str, Row | PlannedRow]:
    """In the order of the run."""
    rows: list[Row | PlannedRow] = [*run.rows, *run.missing]
    worst = worst_by_key(rows, _status)
    return {row.key: worst[row.key] for row in rows}


def _pair(key: str, a: Row | PlannedRow | None, b: Row | PlannedRow | None) -> RowPair:
    either = a or b
    assert either is not None
    figures = tuple(_figures(_metrics(a), _metrics(b)))
    lost = tuple(_lost(a.proof, b.proof)) if isinstance(a, Row) and isinstance(b, Row) else ()
    return RowPair(
        key=key,
        label=f"{row_name(either)}, {either.device}",
        found="only a" if b is None else "only b" if a is None else "both",
        a=_status(a),
        b=_status(b),
        a_proof=_proof(a),
        b_proof=_proof(b),
        samples=tuple(_samples(a, b)),
        checks=tuple(_checks(key, a, b)),
        figures=figures,
        moved=tuple(dict.fromkeys((*_moved(a, b, figures), *lost))) if a is not None and b is not None else (),
        lost=lost,
    )


def _moved(a: Row | PlannedRow, b: Row | PlannedRow, figures: Iterable[Figure]) -> Iterable[str]:
    if _status(a) != _status(b):
        yield f"{_status(a)} became {_status(b)}"
    if isinstance(a, Row) and isinstance(b, Row):
        yield from _moved_checks(a.proof, b.proof)
        for name in sorted(a.engaged.keys() | b.engaged.keys()):
            was, is_ = (row.engaged[name].engaged if name in row.engaged else None for row in (a, b))
            if was != is_:
                yield f"{name}: {_word(was)} became {_word(is_)}"
    for figure in figures:
        if figure.moved:
            yield f"{figure.name}: {_number(figure.a)} became {_number(figure.b)}"


def _moved_checks(a: Iterable[Check], b: Iterable[Check]) -> Iterable[str]:
    before, now = ({(check.name, check.when): check.status for check in checks} for checks in (a, b))
    for at in dict.fromkeys((*before, *now)):
        was, is_ = before.get(at, "not there"), now.get(at, "not there")
        if was != is_:
            yield _became(at, was, is_)


def _lost(a: Iterable[Check], b: Iterable[Check]) -> Iterable[str]:
    """Of the checks that A passed, those that B did not pass, or passed over fewer values."""
    now = {(check.name, check.when): check for check in b}
    for check in (check for check in a if check.status == "passed"):
        at = check.name, check.when
        if at not in now or now[at].status != "passed":
            yield _became(at, check.status, now[at].status if at in now else "not there")
        elif now[at].values < check.values:
            yield _became(at, f"{check.values} values compared", str(now[at].values))


def _became(at: tuple[str, str], was: str, is_: str) -> str:
    return f"{at[0]} ({at[1]}): {was} became {is_}"


def _figures(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterable[Figure]:
    for name in (*TIMES, *COUNTS, *DERIVED):
        left, right = a.get(name), b.get(name)
        if left is None and right is None:
            continue
        x, y = _value(left), _value(right)
        moved = name not in DERIVED and (_time_moved(left, right) if name in TIMES else x != y)
        yield Figure(
            name=name, a=x, b=y, ratio=y / x if x and y is not None else None, moved=moved,
            a_range=_range(left), b_range=_range(right),
        )  # fmt: skip


def _time_moved(a: Spread | None, b: Spread | None) -> bool:
    if a is None or b is None:
        return True
    apart = b.median < a.min or b.median > a.max
    return apart and not (b.min <= a.median <= b.max) and not abs(b.median - a.median) < FLOOR * a.median


def _metrics(row: Row | PlannedRow | None) -> dict[str, Any]:
    if not isinstance(row, Row) or row.metrics is None:
        return {}
    return {name: getattr(row.metrics, name) for name in (*TIMES, *COUNTS, *DERIVED)}


def _value(figure: Spread | float | None) -> float | None:
    return figure.median if isinstance(figure, Spread) else None if figure is None else float(figure)


def _range(figure: object) -> tuple[float, float] | None:
    return (figure.min, figure.max) if isinstance(figure, Spread) else None


def _status(row: Row | PlannedRow | None) -> str:
    """A row that is called ok over a check that failed is not."""
    if not isinstance(row, Row):
        return "" if row is None else NOT_RUN
    failed = any(check.status == "failed" or check.differing != 0 for check in row.proof)
    return "parity_failed" if row.status == "ok" and failed else row.status


def _proof(row: Row | PlannedRow | None) -> str:
    if not isinstance(row, Row):
        return ""
    states = [check.status for check in row.proof]
    parts = [f"{states.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(states)]
    values = sum(check.values for check in row.proof)
    return f"{', '.join(parts)}, {values:,} values compared" if parts else "no check"


def _samples(a: Row | PlannedRow | None, b: Row | PlannedRow | None) -> Iterable[str]:
    for name in ("prefill", "decode"):
        sides = [getattr(row.metrics, name) if isinstance(row, Row) and row.metrics else None for row in (a, b)]
        if any(side is not None for side in sides):
            yield f"{name}: {' against '.join(_sampled(side) for side in sides)}"


def _sampled(samples: Samples | None) -> str:
    if samples is None:
        return "not sampled"
    parts = [f"{plural(len(samples.values), 'sample')}, median {_number(samples.median)} {samples.unit}"]
    parts += [f"standard error {100 * samples.stderr:.2f} %"]
    parts += [f"{min(samples.sm_mhz):,.0f} to {max(samples.sm_mhz):,.0f} MHz"] if samples.sm_mhz else []
    parts += ["{} to {} C".format(*samples.temperature_c)] if samples.temperature_c is not None else []
    parts += [f"{samples.discarded} thrown away"] if samples.discarded else []
    return ", ".join((*parts, *(f"{reason} {count} x" for reason, count in samples.reasons.items())))


def _checks(key: str, a: Row | PlannedRow | None, b: Row | PlannedRow | None) -> Iterable[str]:
    sides = [{check_id(key, check): check for check in row.proof} if isinstance(row, Row) else {} for row in (a, b)]
    for name in dict.fromkeys((*sides[0], *sides[1])):
        yield f"{name}: {' against '.join(_outcome(side.get(name)) for side in sides)}"


def _outcome(check: Check | None) -> str:
    if check is None:
        return "not there"
    counted = f", {check.differing:,} of {check.values:,} differ" if check.values else ""
    return f"{check.status.replace('_', ' ')}{counted}"


def _word(engaged: bool | None) -> str:
    return {True: "engaged", False: "not engaged", None: "not applicable"}[engaged]


def _number(value: float | None) -> str:
    return "nothing" if value is None else number(value)


def number(value: float) -> str:
    """Whole ones in full, others to six digits."""
    return f"{value:,.0f}" if value == round(value) else f"{value:,.6g}"


def _environments(a: Environment, b: Environment) -> Iterable[str]:
    left, right = (_flat(msgspec.to_builtins(side)) for side in (a, b))
    for name in dict.fromkeys((*left, *right)):
        if left.get(name) != right.get(name):
            yield f"{name}: {left.get(name, 'nothing')} against {right.get(name, 'nothing')}"


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """A fact on each line: those of the GPU and of libraries apart. An empty text is none."""
    found: dict[str, Any] = {}
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found.update({f"{name} {inner}": text for inner, text in value.items() if text != ""})
        elif name not in UNSTABLE and value not in (None, ""):
            found[name] = value
    return found
