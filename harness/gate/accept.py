"""Intended changes, from a reviewed TOML file. An entry accepts a slower time or a worse count, and nothing else."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from harness.config import ROW_FIELDS, read_text
from harness.errors import BadCall
from harness.gate.counts import Counts
from harness.where import Predicate, parse_where

ACCEPT_SCHEMA = 1
FIELDS = frozenset(("where", "metric", "most", "paths", "reason", "expires"))
METRICS = ("decode", "prefill", "counts")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """`most`: for times the largest slowdown (0.04 is 4 %), for counts the most launches or kernels more per token."""

    name: str  # "gate-accept.toml entry 2"
    where: str
    holds: Predicate
    metric: str
    most: float
    paths: tuple[str, ...]  # that may no longer engage; counts only
    reason: str
    expires: date

    def expired(self, today: date) -> bool:
        return today > self.expires

    @property
    def words(self) -> str:
        return f"accepted until {self.expires}: {self.reason} ({self.name})"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The entries of a file on a day."""

    entries: tuple[Entry, ...] = ()
    today: date

    def time(self, fields: Mapping[str, str | int], metric: str, slowdown: float) -> Entry | None:
        """The first that accepts this slowdown (0.04 is 4 %) of a row."""
        return next((entry for entry in self._for(fields, metric) if slowdown <= entry.most), None)

    def counts(self, fields: Mapping[str, str | int], counts: Counts) -> Entry | None:
        """The first that accepts all that got worse in the counts of a row."""
        found = self._for(fields, "counts")
        return next((e for e in found if counts.more <= e.most and set(counts.lost) <= set(e.paths)), None)

    def notes(self, used: Sequence[Entry]) -> list[str]:
        """What must be said of the file: entries that are expired, and those that nothing needed."""
        names = {entry.name for entry in used}
        old = [entry for entry in self.entries if entry.expired(self.today)]
        expired = [f"{entry.name} expired on {entry.expires} and accepts nothing" for entry in old]
        unused = [
            f"{entry.name} was not needed ({entry.where}, {entry.metric}): remove it"
            for entry in self.entries
            if entry not in old and entry.name not in names
        ]
        return expired + unused

    def _for(self, fields: Mapping[str, str | int], metric: str) -> list[Entry]:
        return [e for e in self.entries if e.metric == metric and not e.expired(self.today) and e.holds(fields)]


def read_accepted(path: Path | None, today: date) -> Accepted:
    """A gate-accept.toml; none accepts nothing. Raises BadCall naming file, entry and field."""
    if path is None:
        return Accepted(today=today)
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise BadCall(f"{path}: {error}") from None
    unknown = sorted(data.keys() - {"schema", "accept"})
    if unknown or data.get("schema") != ACCEPT_SCHEMA or not isinstance(data.get("accept", []), list):
        raise BadCall(f"{path}: expected schema = {ACCEPT_SCHEMA} and [[accept]] tables, nothing else")
    entries = [_entry(item, f"{path.name} entry {i}") for i, item in enumerate(data.get("accept", []), start=1)]
    return Accepted(entries=tuple(entries), today=today)


def _entry(item: object, name: str) -> Entry:
    if not isinstance(item, dict):
        raise BadCall(f"{name}: expected a table")
    unknown = sorted(item.keys() - FIELDS)
    if unknown:
        raise BadCall(f"{name}: {unknown[0]}: unknown, expected one of {', '.join(sorted(FIELDS))}")
    where, metric, reason, expires, most = (item.get(key) for key in ("where", "metric", "reason", "expires", "most"))
    paths = item.get("paths", [])
    if not isinstance(where, str) or not isinstance(reason, str) or not where.strip() or not reason.strip():
        raise BadCall(f"{name}: where and reason: expected texts that are not empty")
    if metric not in METRICS:
        raise BadCall(f"{name}: metric: {metric!r} is not one of {', '.join(METRICS)}")
    if not isinstance(most, int | float) or isinstance(most, bool) or not 0 <= most < float("inf"):
        raise BadCall(f"{name}: most: {most!r} is not a number from 0 up, such as 0.04 for 4 %")
    if type(expires) is not date:
        raise BadCall(f"{name}: expires: {expires!r} is not a date such as 2026-12-31")
    if (
        not isinstance(paths, list)
        or not all(isinstance(path, str) for path in paths)
        or (paths and metric != "counts")
    ):
        raise BadCall(f"{name}: paths: expected a list of names of paths, with metric counts")
    return Entry(
        name=name,
        where=where,
        holds=_holds(where, name),
        metric=metric,
        most=float(most),
        paths=tuple(paths),
        reason=" ".join(reason.split()),
        expires=expires,
    )


def _holds(where: str, name: str) -> Predicate:
    try:
        return parse_where(where, ROW_FIELDS)
    except BadCall as error:
        raise BadCall(f"{name}: where: {str(error).removeprefix('--where ')}") from None
