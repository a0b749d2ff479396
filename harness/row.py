"""Making one row: open, prove, measure, prove again. Whatever goes wrong in Python is the row's status."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.models import open_file, size_of
from harness.adapters.oracle import cached_exact_logits
from harness.adapters.protocol import Logits
from harness.adapters.settings import NUMERICS, BadInput, OutOfMemory
from harness.compare import Comparison, compare
from harness.errors import BadCall
from harness.job import RowJob
from harness.measure import Measured, measure
from harness.proof import Oracle, ProofTokens, Prover, proof_tokens
from harness.schema import Check, Metrics, PlannedRow, Row, Status
from harness.schema import Path as Engagement
from harness.store import utc_now
from harness.work_model import ModelSize, decode_work, prefill_work

WHOLE_ORACLE_BYTES = 64 * 2**20  # models up to this size are compared with the oracle whole
PROOF_PREFILL = 264  # tokens at most: past the border of an attention split at 256
PROOF_DECODE = 8


@dataclass(frozen=True, kw_only=True)
class Outcome:
    status: Status
    reason: str = ""
    metrics: Metrics | None = None
    proof: tuple[Check, ...] = ()
    engaged: Mapping[str, Engagement] = field(default_factory=dict)


def make_row(job: RowJob) -> Row:
    started, start = utc_now(), time.perf_counter()
    outcome = _outcome(job)
    row = job.row
    return Row(
        id=row.id,
        model=row.model,
        shape=row.shape,
        toggles=row.toggles,
        device=row.device,
        environment=job.environment,
        numerics=NUMERICS,
        started=started,
        seconds=time.perf_counter() - start,
        status=outcome.status,
        reason=outcome.reason,
        metrics=outcome.metrics,
        proof=outcome.proof,
        engaged=dict(outcome.engaged),
    )


def _outcome(job: RowJob) -> Outcome:
    try:
        return _prove_and_measure(job)
    except (OutOfMemory, MemoryError) as error:
        return Outcome(status="out_of_memory", reason=_one_line(error) or "the machine has not enough memory")
    except (BadInput, BadCall) as error:
        return Outcome(status="error", reason=_one_line(error))
    except Exception as error:
        traceback.print_exc()
        return Outcome(status="error", reason=f"{type(error).__name__}: {_one_line(error)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _prove_and_measure(job: RowJob) -> Outcome:
    row, shape = job.row, job.row.shape
    with ExitStack() as stack:
        device = stack.enter_context(opened(row.device, Path(job.cache)))
        model = open_file(Path(job.model_path))
        loaded = stack.enter_context(LoadedModel(device, model))
        engine = loaded.engine(row.toggles, context=shape.context)
        stack.callback(engine.close)
        tokens = _proof_tokens(row, model.spec.vocab)
        prover = Prover(
            engine=engine,
            toggles=row.toggles,
            open_twin=lambda toggles: loaded.engine(toggles, context=shape.context),
            tokens=tokens,
            oracle=_oracle(job, loaded, tokens),
            has_pdl=device.has_pdl,
        )
        before = prover.checks("before")
        prompt = np.random.default_rng([model.spec.vocab, shape.prompt, shape.depth]).integers(
            0, model.spec.vocab, shape.depth + shape.prompt
        )
        measured = measure(engine, shape, prompt, repeats=job.repeats, timed=row.device != "host")
        proof = (*before, *prover.checks("after"))
        failed = next((check for check in proof if check.status == "failed"), None)
        return Outcome(
            status="parity_failed" if failed else "ok",
            reason=f"{failed.name} ({failed.when}): {failed.reason}" if failed else "",
            metrics=_metrics(
                job,
                size_of(model, str(row.toggles["kv"])),
                measured,
                loaded.memory_bytes() + engine.memory_bytes(),
            ),
            proof=proof,
            engaged=engine.engaged(),
        )


def _proof_tokens(row: PlannedRow, vocab: int) -> ProofTokens:
    """As long as the row's own prompt and answer, up to a length that every path can be compared at in seconds."""
    decoded = min(row.shape.generated, PROOF_DECODE)
    prefilled = min(row.shape.prompt, PROOF_PREFILL, row.shape.context - decoded)
    return proof_tokens(vocab, prefilled=prefilled, decoded=decoded)


def _oracle(job: RowJob, loaded: LoadedModel, tokens: ProofTokens) -> Oracle:
    row, kv = job.row, str(job.row.toggles["kv"])
    if row.model.bytes <= WHOLE_ORACLE_BYTES:
        expected = cached_exact_logits(loaded.model, row.model.sha256, tokens.ids, kv=kv, cache=Path(job.cache))
        return lambda logits: (compare(logits, expected), f"exact form, whole model, kv {kv}")

    def sampled(logits: Logits) -> tuple[Comparison, str]:
        return loaded.sampled_parity(row.toggles, tokens.prefilled, tokens.decoded, logits)

    return sampled


def _metrics(job: RowJob, size: ModelSize, measured: Measured, memory_bytes: int) -> Metrics:
    shape, toggles = job.row.shape, job.row.toggles
    batch = 1 if toggles["prefill"] == "sequential" else min(int(toggles["chunk"]), shape.context)
    prefill = prefill_work(size, position=shape.depth, tokens=shape.prompt, batch=batch)
    decode = decode_work(size, position=shape.depth + shape.prompt, tokens=shape.generated)
    percent = None
    if measured.decode_tps is not None and job.read_ceiling:
        percent = 100 * decode.bytes * measured.decode_tps.median / (job.read_ceiling * 1e9)
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
        memory_bytes=memory_bytes,
    )
