"""Making one row in a process of its own. Whatever goes wrong in Python is the row's status."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.models import open_file, size_of
from harness.adapters.timing import Timing
from harness.empty_row import empty_row
from harness.job import RowJob
from harness.measure import VERIFY_PASSES
from harness.proven import Proven, ending, prove_and_measure
from harness.rules import quick
from harness.schema import Metrics, PlannedRow, Row
from harness.work_model import ModelSize, works


def make_row(job: RowJob) -> Row:
    start = time.perf_counter()
    row = job.row
    made = empty_row(row, job.environment, "error")
    try:
        made = _filled(made, job)
    except Exception as error:
        status, reason = ending(error)
        made = msgspec.structs.replace(made, status=status, reason=reason)
    return msgspec.structs.replace(made, seconds=time.perf_counter() - start)


def _filled(made: Row, job: RowJob) -> Row:
    row = job.row
    with ExitStack() as stack:
        device = stack.enter_context(opened(row.device, Path(job.cache)))
        start = time.perf_counter()
        model = open_file(Path(job.model_path))
        loaded = stack.enter_context(LoadedModel(device, model))
        first_token = _first_token(loaded, row, start)
        timing = stack.enter_context(Timing(device))
        rules = quick(job.repeats)
        warm = rules.warm_seconds[0]
        proven = prove_and_measure(loaded, timing, row, cache=Path(job.cache), rules=rules, warm_seconds=warm)
        status, reason = proven.verdict
        return msgspec.structs.replace(
            made,
            status=status,
            reason=reason,
            metrics=_metrics(job, size_of(model, str(row.toggles["kv"])), proven, first_token),
            proof=proven.proof,
            engaged=dict(proven.engaged),
        )


def _first_token(loaded: LoadedModel, row: PlannedRow, start: float) -> float | None:
    """Seconds from before the file was opened to the first token behind a prompt of one; None on an emulated device."""
    if row.device == "host":
        return None
    engine = loaded.engine(row.toggles, context=row.shape.context)
    engine.generate(np.zeros(1, dtype=np.int64), 1)
    engine.synchronize()
    seconds = time.perf_counter() - start
    engine.close()
    return seconds


def _metrics(job: RowJob, size: ModelSize, proven: Proven, first_token: float | None) -> Metrics:
    measured = proven.measured
    prefill, decode = works(job.row, size)
    percent = None
    if measured.decode_tps is not None and job.read_ceiling:
        percent = 100 * decode.bytes * measured.decode_tps.median / (job.read_ceiling * 1e9)
    single = measured.decode.samples(per=measured.run) if measured.decode else None
    verify = measured.verify.samples(per=VERIFY_PASSES) if measured.verify else None
    return Metrics(
        prefill_tps=measured.prefill_tps,
        decode_tps=measured.decode_tps,
        host_us_per_token=measured.host_us_per_token,
        launches_per_token=measured.launches_per_token,
        graph_kernels_per_token=measured.graph_kernels_per_token,
        prefill_launches_per_token=measured.prefill_launches_per_token,
        bytes_per_token=decode.bytes,
        operations_per_token=decode.operations,
        prefill_bytes_per_token=prefill.bytes,
        prefill_operations_per_token=prefill.operations,
        percent_of_read_ceiling=percent,
        memory_bytes=proven.memory_bytes,
        first_token_seconds=first_token,
        prefill=measured.prefill.samples() if measured.prefill else None,
        decode=single,
        verify=verify,
        verify_ratio=verify.median / single.median if verify and single else None,
    )
