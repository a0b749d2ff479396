"""bench-allrows: from a matrix to a run folder with a row, or a status, for everything that was asked for."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.adapters import models
from harness.adapters.settings import NUMERICS, BadInput
from harness.code_hash import RESULT_CODE, code_hash
from harness.config import ROW_FIELDS, Config
from harness.environment import device_id, environment
from harness.errors import BadCall
from harness.job import Probe, ProbeJob, Refusal, RowJob
from harness.matrix import ModelChoice, RowConfig, expand
from harness.progress import SweepProgress
from harness.runner import WORKER, Finished, Pool, Started, Task, run
from harness.schema import Environment, ModelFacts, Plan, PlannedRow, Row, Status
from harness.store import ENVIRONMENT, PLAN, ROWS, RowWriter, new_run_folder, read_rows, utc_now, write_record
from harness.where import parse_where

PROBE_SECONDS = 900.0  # a cold host device compiles every kernel
FINAL: frozenset[Status] = frozenset(("ok", "parity_failed", "not_applicable"))  # not made again on resume
ENDINGS: Mapping[str, Status] = {"died": "crashed", "timed out": "hung"}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What was asked for. `environment` is what worker processes see of the process environment."""

    config: Config
    matrix: str  # the text of the configuration
    matrix_path: str
    where: str
    device: str  # "host" | "cuda"
    repeats: int  # 0: as the configuration says
    results: Path
    resume: Path | None
    cache: Path
    command: str
    environment: Mapping[str, str]
    workers: int
    worker: Sequence[str] = WORKER


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep: what is finished stays."""

    def __init__(self, folder: Path, done: int, total: int) -> None:
        super().__init__(f"interrupted: {done} of {total} rows are kept in {folder}")
        self.folder = folder


@dataclass(frozen=True, kw_only=True)
class _Planned:
    row: PlannedRow
    path: str  # of the model file
    refused: str  # why the model cannot be; empty if it can


def run_sweep(sweep: Sweep, progress: SweepProgress) -> Path:
    """Make all rows; returns the run folder. Raises BadInput or BadCall before the first row, Interrupted after it."""
    configs = selected(sweep)
    folder = sweep.resume or new_run_folder(sweep.results)
    try:
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        probe = _probe(sweep, logs, progress)
        planned = _plan(sweep, configs, probe, progress)
        made = environment(sweep.device, probe, command=sweep.command)
        _write_plan(sweep, folder, planned)
        write_record(folder / ENVIRONMENT, made)
    except BaseException:
        if sweep.resume is None:
            _remove(folder)
        raise
    _make_rows(sweep, folder, planned, made, progress)
    if not any(logs.iterdir()):
        logs.rmdir()
    return folder


def selected(sweep: Sweep) -> list[RowConfig]:
    """The rows that the matrix, the device and `--where` leave. Raises BadCall if none is left."""
    rows = expand(sweep.config, sweep.device)
    if not sweep.where:
        return rows
    wanted = parse_where(sweep.where, ROW_FIELDS)
    chosen = [row for row in rows if wanted(row.fields())]
    if not chosen:
        raise BadCall(f"--where {sweep.where!r}: none of the {len(rows)} rows on device {sweep.device} matches")
    return chosen


def row_id(row: RowConfig, model: ModelFacts, *, repeats: int, device: str, code: str) -> str:
    """Content key: a row is made again exactly when one of these changes."""
    shape = msgspec.structs.asdict(row.shape)
    parts = [model.name, model.sha256, shape, dict(row.toggles), repeats, device, code, NUMERICS]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=8).hexdigest()


def _probe(sweep: Sweep, logs: Path, progress: SweepProgress) -> Probe:
    """Look at the device in a process of its own, so that this one never holds a GPU."""
    progress.say(f"device {sweep.device}: " + ("compiling kernels" if sweep.device == "host" else "measuring ceilings"))
    job = ProbeJob(
        device=sweep.device,
        cache=str(sweep.cache),
        ceilings=sweep.device == "cuda",
        answer=str(logs / "probe.json"),
    )
    pool = Pool(workers=1, timeout=PROBE_SECONDS, environment=sweep.environment, command=sweep.worker)
    for event in run([Task(key="probe", job=job, log=logs / "probe.log")], pool):
        if isinstance(event, Finished):
            if event.ending != "answered":
                raise BadCall(f"device {sweep.device} cannot be used: {event.reason}")
            answer = msgspec.json.decode(event.answer, type=Probe | Refusal)
            if isinstance(answer, Refusal):
                raise BadInput(answer.refused)
            progress.say(f"device {sweep.device}: {answer.description}")
            return answer
    raise BadCall(f"device {sweep.device}: no answer")


def _plan(sweep: Sweep, configs: Sequence[RowConfig], probe: Probe, progress: SweepProgress) -> list[_Planned]:
    choices = list(dict.fromkeys(config.model for config in configs))
    _announce(sweep, choices, probe, progress)
    files = {choice: _model(choice, sweep.cache, progress) for choice in choices}
    repeats = sweep.repeats or sweep.config.repeats
    device, code = device_id(sweep.device, probe), code_hash(RESULT_CODE)
    planned = []
    for config in configs:
        facts, path, refused = files[config.model]
        row = PlannedRow(
            id=row_id(config, facts, repeats=repeats, device=device, code=code),
            model=facts,
            shape=config.shape,
            toggles=dict(config.toggles),
            device=config.device,
        )
        planned.append(_Planned(row=row, path=path, refused=refused))
    return planned


def _announce(sweep: Sweep, choices: Sequence[ModelChoice], probe: Probe, progress: SweepProgress) -> None:
    """Say what the models will take before they do. Raises BadCall if the disk has too little."""
    needed = 0
    for choice in choices:
        if choice.path is not None:
            continue
        try:
            size = models.synthetic_bytes(choice.name, choice.quant)
        except BadInput:
            continue  # refused below, by name
        if not models.synthetic_path(choice.name, choice.quant, choice.seed, sweep.cache).exists():
            needed += size
            progress.say(f"to make: {choice.name} {choice.quant}, {size / 2**20:,.0f} MiB of disk in {sweep.cache}")
        if sweep.device == "cuda" and size > 2**28:
            progress.say(
                f"{choice.name} {choice.quant} takes about {1.1 * size / 2**20:,.0f} MiB of GPU memory"
                f" and its KV cache; {probe.free_bytes / 2**20:,.0f} MiB are free"
            )
    models.require_disk(sweep.cache, needed, "the models to make")


def _model(choice: ModelChoice, cache: Path, progress: SweepProgress) -> tuple[ModelFacts, str, str]:
    """Facts, path, and why there is no such model. An unknown name or type is an error, an impossible pair a status."""
    if choice.path is not None:
        file = models.user_file(choice.path)
        return file.facts, str(file.path), ""
    models.require_known(choice.name, choice.quant)
    try:
        models.synthetic_bytes(choice.name, choice.quant)
    except BadInput as error:
        return ModelFacts(name=choice.name, quant=choice.quant, sha256="", bytes=0), "", str(error)
    file = models.synthetic(choice.name, choice.quant, choice.seed, cache)
    return file.facts, str(file.path), ""


def _write_plan(sweep: Sweep, folder: Path, planned: Sequence[_Planned]) -> None:
    plan = Plan(
        started=utc_now(),
        command=sweep.command,
        rows=tuple(item.row for item in planned),
        matrix=sweep.matrix,
        matrix_path=sweep.matrix_path,
        where=sweep.where,
        device=sweep.device,
        repeats=sweep.repeats,
    )
    write_record(folder / PLAN, plan)


def _make_rows(
    sweep: Sweep, folder: Path, planned: Sequence[_Planned], made: Environment, progress: SweepProgress
) -> None:
    known, _ = read_rows(folder / ROWS)
    final = {row.id for row in known if row.status in FINAL}
    waiting = {item.row.id: item for item in planned if item.row.id not in final}
    progress.begin(len(planned), len(planned) - len(waiting))
    writer = RowWriter(folder)

    def keep(row: Row) -> None:
        writer.append(row)
        del waiting[row.id]
        progress.finished(row)

    try:
        for item in [item for item in waiting.values() if item.refused]:
            keep(_without_run(item.row, made, "not_applicable", item.refused, 0.0))
        tasks = [_task(sweep, folder, item, made) for item in apart(list(waiting.values()))]
        pool = Pool(
            workers=sweep.workers,
            timeout=sweep.config.timeout,
            environment=sweep.environment,
            command=sweep.worker,
        )
        for event in run(tasks, pool):
            if isinstance(event, Started):
                progress.started(waiting[event.key].row)
            else:
                keep(_row(waiting[event.key].row, made, event))
    except KeyboardInterrupt:
        raise Interrupted(folder, len(planned) - len(waiting), len(planned)) from None
    finally:
        writer.close()


def apart(items: Sequence[_Planned]) -> list[_Planned]:
    """Rows that want the same oracle logits far from each other: two workers then seldom wait for one computation."""
    seen: Counter[tuple[object, ...]] = Counter()
    places: list[tuple[int, int]] = []
    for i, item in enumerate(items):
        row = item.row
        key = (row.model.sha256, row.shape.prompt, row.shape.generated, row.toggles["kv"])
        places.append((seen[key], i))
        seen[key] += 1
    return [items[i] for _, i in sorted(places)]


def _task(sweep: Sweep, folder: Path, item: _Planned, made: Environment) -> Task:
    read = next((ceiling.median for ceiling in made.ceilings if ceiling.name == "read"), None)
    row = item.row
    job = RowJob(
        row=row,
        model_path=item.path,
        cache=str(sweep.cache),
        repeats=sweep.repeats or sweep.config.repeats,
        read_ceiling=read,
        environment=made.id,
        answer=str(folder / "logs" / f"{row.id}.json"),
    )
    return Task(key=row.id, job=job, log=folder / "logs" / f"{row.id}.log")


def _row(row: PlannedRow, made: Environment, event: Finished) -> Row:
    if event.ending != "answered":
        return _without_run(row, made, ENDINGS[event.ending], event.reason, event.seconds)
    try:
        answer = msgspec.json.decode(event.answer, type=Row)
    except msgspec.MsgspecError as error:
        return _without_run(row, made, "error", f"the worker's answer is no row ({error})", event.seconds)
    # What it cost, with the start of the process.
    return msgspec.structs.replace(answer, seconds=event.seconds)


def _without_run(row: PlannedRow, made: Environment, status: Status, reason: str, seconds: float) -> Row:
    return Row(
        id=row.id,
        model=row.model,
        shape=row.shape,
        toggles=row.toggles,
        device=row.device,
        status=status,
        reason=reason,
        environment=made.id,
        numerics=NUMERICS,
        started=utc_now(),
        seconds=seconds,
    )


def _remove(folder: Path) -> None:
    """A run folder that never got a plan."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
