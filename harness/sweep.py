"""bench-allrows: from a matrix to a run folder with a row, or a status, for everything that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from harness import targets
from harness.adapters.settings import BadInput
from harness.empty_row import empty_row
from harness.environment import environment
from harness.errors import BadCall
from harness.job import Probe, ProbeJob, Refusal, RowJob
from harness.peer import PROGRAM
from harness.peer_sweep import Peers, open_peers, require_peer
from harness.planning import Planned, Sweep, plan_rows, selected
from harness.progress import SweepProgress
from harness.runner import Finished, Pool, Started, Task, run
from harness.schema import Environment, Plan, PlannedRow, Row, Status
from harness.store import (
    ENVIRONMENT,
    PLAN,
    ROWS,
    RowWriter,
    new_run_folder,
    read_rows,
    require_folder,
    utc_now,
    write_record,
)
from harness.words import plural

PROBE_SECONDS = 900.0  # a cold host device compiles every kernel
FINAL: frozenset[Status] = frozenset(("ok", "parity_failed", "not_applicable"))  # not made again on resume
ENDINGS: Mapping[str, Status] = {"died": "crashed", "timed out": "hung"}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a sweep: what is finished stays."""

    def __init__(self, folder: Path, done: int, total: int) -> None:
        super().__init__(
            f"interrupted: {done} of {plural(total, 'row is', 'rows are')} kept; "
            f"make the others with: bench-allrows --resume {folder}"
        )
        self.folder = folder


def run_sweep(sweep: Sweep, progress: SweepProgress) -> Path:
    """Make all rows; returns the run folder. Raises BadInput or BadCall before the first row, Interrupted after it."""
    require_peer(sweep)
    configs = selected(sweep)
    require_folder(sweep.cache, "cache folder")
    folder = sweep.resume or new_run_folder(sweep.results)
    try:
        logs = folder / "logs"
        logs.mkdir(exist_ok=True)
        probe = probe_device(sweep, logs, progress)
        planned = plan_rows(sweep, configs, probe, progress)
        peers = open_peers(sweep, planned, folder, progress)
        made = environment(sweep.device, probe, command=sweep.command)
        _write_plan(sweep, folder, planned, progress)
        write_record(folder / ENVIRONMENT, made)
    except BaseException:
        if sweep.resume is None:
            _remove(folder)
        raise
    try:
        _make_rows(sweep, folder, planned, made, progress, peers)
    except OSError as error:  # the disk is full, or the folder gone
        raise BadCall(f"the sweep cannot go on: {error.strerror} ({error.filename or folder})") from None
    if not any(logs.iterdir()):
        logs.rmdir()
    return folder


def probe_device(sweep: Sweep, logs: Path, progress: SweepProgress) -> Probe:
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


def _write_plan(sweep: Sweep, folder: Path, planned: Sequence[Planned], progress: SweepProgress) -> None:
    rows = tuple(item.row for item in planned)
    plan = Plan(
        started=utc_now(),
        command=sweep.command,
        rows=rows,
        targets=targets.planned(sweep.config.targets, rows),
        matrix=sweep.matrix,
        matrix_path=sweep.matrix_path,
        where=sweep.where,
        device=sweep.device,
        repeats=sweep.repeats,
        peer=f"{PROGRAM}={sweep.peer}" if sweep.peer else "",
    )
    kept = {target.name for target in plan.targets}
    left = [target.name for target in sweep.config.targets if target.name not in kept]
    named = ", ".join(left)
    if left:
        progress.say(f"targets without a row in this run: {len(left)} of {len(kept) + len(left)} ({named})")
    write_record(folder / PLAN, plan)


def _make_rows(
    sweep: Sweep,
    folder: Path,
    planned: Sequence[Planned],
    made: Environment,
    progress: SweepProgress,
    peers: Peers,
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
            keep(empty_row(item.row, made.id, "not_applicable", item.refused, 0.0))
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
                row = waiting[event.key].row
                keep(_row(row, made, event))
                peers.after(row)  # the next row starts when it is done
        peers.rest()
    except KeyboardInterrupt:
        raise Interrupted(folder, len(planned) - len(waiting), len(planned)) from None
    finally:
        writer.close()


def apart(items: Sequence[Planned]) -> list[Planned]:
    """Rows that want the same oracle logits far from each other: two workers then seldom wait for one computation."""
    seen: Counter[tuple[object, ...]] = Counter()
    places: list[tuple[int, int]] = []
    for i, item in enumerate(items):
        row = item.row
        key = (row.model.sha256, row.shape.prompt, row.shape.generated, row.toggles["kv"])
        places.append((seen[key], i))
        seen[key] += 1
    return [items[i] for _, i in sorted(places)]


def _task(sweep: Sweep, folder: Path, item: Planned, made: Environment) -> Task:
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
        return empty_row(row, made.id, ENDINGS[event.ending], event.reason, event.seconds)
    try:
        answer = msgspec.json.decode(event.answer, type=Row)
    except msgspec.MsgspecError as error:
        return empty_row(row, made.id, "error", f"the worker's answer is no row ({error})", event.seconds)
    # What it cost, with the start of the process.
    return msgspec.structs.replace(answer, seconds=event.seconds)


def _remove(folder: Path) -> None:
    """A run folder that never got a plan."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    folder.rmdir()
    with suppress(OSError):  # other runs are in it
        folder.parent.rmdir()
