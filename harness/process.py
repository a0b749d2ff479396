"""One fresh process: a model loaded once, all its rows measured in shuffled order behind the canaries."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.models import open_file, size_of
from harness.adapters.settings import NUMERICS
from harness.adapters.timing import Timing
from harness.canaries import canaries, read_ceiling
from harness.code_hash import TREE, code_hash
from harness.environment import checkout, version
from harness.errors import BadCall
from harness.job import ProcessJob
from harness.limits import Claim, impossible
from harness.proven import Proven, ending, prove_and_measure
from harness.schema import Ceiling, Measurement, PlannedRow, ProcessAnswer
from harness.store import utc_now
from harness.work_model import ModelSize, works


def measure_process(job: ProcessJob) -> ProcessAnswer:
    """Every row gets a Measurement: one that could not be made says why, and the next is made all the same."""
    start = time.perf_counter()
    rows = list(job.rows)
    random.Random(job.seed).shuffle(rows)
    commit, dirty = checkout()
    answer = ProcessAnswer(
        version=version(),
        git_commit=commit,
        git_dirty=dirty,
        tree=code_hash(TREE),
        numerics=NUMERICS,
        started=utc_now(),
        seconds=0.0,
        order=tuple(row.key for row in rows),
    )
    try:
        answer = _measured(answer, job, rows)
    except Exception as error:  # no device, no model: it befell all of them
        status, reason = ending(error)
        failed = (Measurement(key=row.key, id=row.id, status=status, reason=reason) for row in rows)
        answer = msgspec.structs.replace(answer, rows=tuple(failed))
    return msgspec.structs.replace(answer, seconds=time.perf_counter() - start)


def _measured(answer: ProcessAnswer, job: ProcessJob, rows: Sequence[PlannedRow]) -> ProcessAnswer:
    if len({(row.model, row.device) for row in rows}) != 1:
        raise BadCall("process: its rows have several models or devices, or there are none; expected one of each")
    begun = time.perf_counter()
    with ExitStack() as stack:
        device = stack.enter_context(opened(rows[0].device, Path(job.cache)))
        model = open_file(Path(job.model_path))
        loaded = stack.enter_context(LoadedModel(device, model))
        timing = stack.enter_context(Timing(device))
        ready = time.perf_counter()
        with timing.canaries() as works:
            sung = canaries(works, job.rules) if job.canaries else ()
            ceilings = (*job.ceilings, *read_ceiling(works, sung))
        spent = {"opening": ready - begun, "canaries": time.perf_counter() - ready}
        found: list[Measurement] = []
        for row in rows:
            found.append(_row(job, loaded, timing, row, ceilings, cold=not found))
            print(f"{len(found)} of {len(rows)}: {row.key} {found[-1].status} {found[-1].reason}", file=sys.stderr)
        return msgspec.structs.replace(
            answer,
            gpu=timing.gpu,
            gpu_state=timing.state,
            rows=tuple(found),
            canaries=sung,
            spent=spent,
        )


def _row(
    job: ProcessJob,
    loaded: LoadedModel,
    timing: Timing,
    row: PlannedRow,
    ceilings: Sequence[Ceiling],
    *,
    cold: bool,
) -> Measurement:
    """The first row of a process has the whole warm-up before it; later ones find a GPU that is warm already."""
    warm = job.rules.warm_seconds[0] if cold else 0.0
    try:
        proven = prove_and_measure(loaded, timing, row, cache=Path(job.cache), rules=job.rules, warm_seconds=warm)
    except Exception as error:
        status, reason = ending(error)
        return Measurement(key=row.key, id=row.id, status=status, reason=reason)
    size = size_of(loaded.model, str(row.toggles["kv"]))
    return measurement(row, proven, size, ceilings, limit_share=job.rules.limit_share)


def measurement(
    row: PlannedRow, proven: Proven, size: ModelSize, ceilings: Sequence[Ceiling], *, limit_share: float
) -> Measurement:
    """The record of what was measured. A figure that cannot be is an error, however well its bits are proven."""
    measured = proven.measured
    status, reason = proven.verdict
    found = Measurement(
        key=row.key,
        id=row.id,
        status=status,
        reason=reason,
        prefill=measured.prefill.samples() if measured.prefill else None,
        decode=measured.decode.samples(per=measured.run) if measured.decode else None,
        proof=proven.proof,
        engaged=dict(proven.engaged),
        launches_per_token=measured.launches_per_token,
        graph_kernels_per_token=measured.graph_kernels_per_token,
        warm_up=measured.warm_up,
        spent=dict(proven.spent),
    )
    limit = impossible(_claims(row, size, found), ceilings, limit_share)
    if limit and status == "ok":
        return msgspec.structs.replace(found, status="error", reason=limit, limit=limit)
    return msgspec.structs.replace(found, limit=limit)


def _claims(row: PlannedRow, size: ModelSize, found: Measurement) -> list[Claim]:
    prefill, decode = works(row, size)
    claims = []
    if found.decode is not None:
        claims.append(Claim(name="decode", work=decode, us=found.decode.median))
    if found.prefill is not None:
        claims.append(Claim(name="prefill", work=prefill, us=found.prefill.median / row.shape.prompt))
    return claims
