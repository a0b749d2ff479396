"""Several run folders as one: what machines measured apart, each writing files of its own, is put together here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import BadCall
from harness.schema import Environment, Imported, Peer, Plan, PlannedRow, Row
from harness.store import (
    ENVIRONMENT,
    ENVIRONMENTS,
    IMPORTED,
    PEERS,
    PLAN,
    ROWS,
    Line,
    lines,
    read_environment,
    read_environments,
    read_plan,
    write_atomically,
    write_record,
)

Kind = TypeVar("Kind", bound=Row | PlannedRow)
RANK = {"ok": 0, "parity_failed": 2}  # of a status; every other one lies between


@dataclass(frozen=True, kw_only=True)
class Merged:
    folder: Path
    runs: int
    rows: int  # lines kept
    repeated: int  # lines that several runs had, kept once
    problems: tuple[str, ...]


def worst_by_key(rows: Iterable[Kind], status: Callable[[Kind], str]) -> dict[str, Kind]:
    """A merged run can hold a configuration more than once: the row that ended worst stands for it."""
    return {row.key: row for row in sorted(rows, key=lambda row: RANK.get(status(row), 1))}


def merge_runs(runs: Sequence[Path], target: Path, *, command: str) -> Merged:
    """Make `target` a run folder of all rows that the runs planned and made; the runs stay as they are.

    A line that is in several runs is kept once. Of rows with the same id the one that started last counts, as in a run
    that was resumed; and as there, a later row does not make good bits that differed once. Raises BadCall if `target`
    is there already.
    """
    if target.exists():
        raise BadCall(f"{target}: is there already, expected the name of a folder to make")
    plans = [read_plan(run) for run in runs]
    environments = [read_environments(run) for run in runs]
    problems: list[str] = []
    rows, repeated = _together(runs, ROWS, Row, problems)
    peers, _ = _together(runs, PEERS, Peer, problems)
    imported, _ = _together(runs, IMPORTED, Imported, problems)
    rows.sort(key=lambda row: row.started)  # stable: lines of one second stay in their order
    building = target.with_name(f".{target.name[:32]}.merging")
    try:
        shutil.rmtree(building, ignore_errors=True)  # of a merge that was killed
        building.mkdir(parents=True)
        parts = [plan.parts or (read_environment(run).command,) for plan, run in zip(plans, runs, strict=True)]
        write_record(building / PLAN, _plan(plans, command, parts))
        main, others = _environments(environments, rows)
        write_record(building / ENVIRONMENT, main)
        for name, records in ((ROWS, rows), (PEERS, peers), (IMPORTED, imported), (ENVIRONMENTS, others)):
            if records or name == ROWS:
                write_atomically(building / name, b"".join(msgspec.json.encode(item) + b"\n" for item in records))
        building.rename(target)
    except OSError as error:
        raise BadCall(f"{target}: cannot write ({error.strerror})") from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return Merged(folder=target, runs=len(runs), rows=len(rows), repeated=repeated, problems=tuple(problems))


def _together(runs: Sequence[Path], name: str, kind: type[Line], problems: list[str]) -> tuple[list[Line], int]:
    found: dict[bytes, Line] = {}
    repeated = 0
    for run in runs:
        for item in lines(run / name, kind):
            if isinstance(item, str):
                problems.append(f"{run.name}: {item}")
                continue
            line = msgspec.json.encode(item)
            repeated += line in found
            found.setdefault(line, item)
    return list(found.values()), repeated


def _plan(plans: Sequence[Plan], command: str, parts: Sequence[tuple[str, ...]]) -> Plan:
    """All planned rows, each once. Where the plans agree on what they were asked for, it stays said."""
    rows: dict[str, PlannedRow] = {row.id: row for plan in plans for row in plan.rows}
    first = msgspec.structs.asdict(plans[0])
    asked = ("matrix", "matrix_path", "where", "device", "repeats", "peer")
    kept = {name: first[name] for name in asked if all(getattr(plan, name) == first[name] for plan in plans)}
    return Plan(
        started=min(plan.started for plan in plans),
        command=command,
        rows=tuple(rows.values()),
        targets=tuple(dict.fromkeys(target for plan in plans for target in plan.targets)),
        parts=tuple(dict.fromkeys(command for part in parts for command in part)),
        **kept,
    )


def _environments(
    of_runs: Sequence[dict[str, Environment]], rows: Sequence[Row]
) -> tuple[Environment, list[Environment]]:
    """The one that most rows come from, and the others."""
    known = {made.id: made for environments in of_runs for made in environments.values()}
    counts = {name: sum(row.environment == name for row in rows) for name in known}
    main = max(known, key=lambda name: counts[name])
    return known[main], [made for name, made in known.items() if name != main]
