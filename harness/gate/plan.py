"""What a gate owes, fixed before the first process: rows from the configuration, never from results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.adapters.models import file_sha256
from harness.config import ROW_FIELDS
from harness.environment import environment
from harness.errors import BadCall
from harness.gate.arms import Side
from harness.gate.environments import Sharing
from harness.gate.pairs import ModelRows
from harness.gate.schema import GATE_SCHEMA, PLAN_FILE, SelftestScore
from harness.gate.stored import StoredArm, owed_by
from harness.job import Probe
from harness.planning import Planned, Sweep, plan_rows, selected
from harness.progress import SweepProgress
from harness.schema import Environment, PlannedRow, Record
from harness.store import read_record, require_folder, write_record
from harness.sweep import probe_device
from harness.where import fields, parse_where
from harness.words import plural


class PlannedModel(Record, frozen=True, kw_only=True):
    """Rows of one model and where its file is."""

    path: str
    rows: tuple[PlannedRow, ...]


class GatePlan(Record, frozen=True, kw_only=True):
    """gate-plan.json: all that a resumed gate needs to be the same gate."""

    schema: int = GATE_SCHEMA
    started: str  # UTC, ISO 8601
    command: str
    rerun: str  # the command without its --where, commits by their hash
    base: str  # as named
    head: str
    commits: dict[str, str]  # side -> commit, of those that are one: a branch may move meanwhile
    directory: str  # that the names are relative to
    sharing: Sharing
    matrix: str
    matrix_path: str
    where: str
    device: str
    gpu: str  # UUID to measure on
    others: tuple[str, ...]  # UUIDs of other GPUs to confirm on
    timeout: float
    policy_path: str
    accept_path: str
    noise_path: str = ""
    selftest: SelftestScore | None = None
    models: tuple[PlannedModel, ...]
    notes: tuple[str, ...]  # for the result
    environment: Environment

    def model_rows(self) -> list[ModelRows]:
        return [ModelRows(number=i, path=model.path, rows=model.rows) for i, model in enumerate(self.models)]

    def rows(self) -> list[PlannedRow]:
        return [row for model in self.models for row in model.rows]


def plan_models(
    sweep: Sweep, folder: Path, progress: SweepProgress
) -> tuple[tuple[PlannedModel, ...], tuple[str, ...], Environment]:
    """Rows by model, those that cannot be, and the machine. Makes the model files. Raises BadCall or BadInput."""
    configs = selected(sweep)
    require_folder(sweep.cache, "cache folder")
    probe: Probe = probe_device(sweep, folder, progress)
    planned = plan_rows(sweep, configs, probe, progress)
    possible = [item for item in planned if not item.refused]
    if not possible:
        raise BadCall(f"no row can be measured: {planned[0].refused}")
    refused = dict.fromkeys(
        f"{item.row.model.name} {item.row.model.quant}: {item.refused}" for item in planned if item.refused
    )
    return _by_model(possible), tuple(refused), environment(sweep.device, probe, command=sweep.command)


def plan_stored(
    stored: Mapping[Side, StoredArm], where: str
) -> tuple[tuple[PlannedModel, ...], tuple[str, ...], Environment]:
    """The same for two finished runs, which owe what they planned. Raises BadCall if `where` leaves nothing."""
    owed = list(owed_by(stored).values())
    wanted = parse_where(where, ROW_FIELDS) if where else None
    rows = tuple(row for row in owed if wanted is None or wanted(fields(row)))
    if not rows:
        raise BadCall(f"--where {where!r}: none of the {plural(len(owed), 'row')} of the runs matches")
    return (PlannedModel(path="", rows=rows),), (), stored["head"].run.environment


def require_models(models: Sequence[PlannedModel], *, folder: Path, cache: Path) -> None:
    """For what was begun in `folder` and goes on. Raises BadCall if a model's file is gone, or another one by now."""
    for model in models:
        path = Path(model.path)
        if not path.is_file():
            raise BadCall(f"{folder}: its model {path} is not here; begin a new run")
        if file_sha256(path, cache) != model.rows[0].model.sha256:
            raise BadCall(f"{folder}: its model {path} is another file now; begin a new run")


def write_plan(folder: Path, plan: GatePlan) -> None:
    write_record(folder / PLAN_FILE, plan)


def read_plan(folder: Path) -> GatePlan:
    """Of a gate's folder. Raises BadCall if it is none."""
    path = folder / PLAN_FILE
    return read_record(
        path,
        msgspec.json.Decoder(GatePlan).decode,
        absent="not the folder of a gate",
        unfit=f"not a plan of schema {GATE_SCHEMA}",
    )


def _by_model(planned: Sequence[Planned]) -> tuple[PlannedModel, ...]:
    rows: dict[str, list[PlannedRow]] = {}
    for item in planned:
        rows.setdefault(item.path, []).append(item.row)
    return tuple(PlannedModel(path=path, rows=tuple(found)) for path, found in rows.items())
