"""A run folder of an engine that is not ours: its rows as ours are, proven as far as it lets itself be."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from numpy.typing import NDArray

from harness.adapters import models, oracle
from harness.adapters.settings import NUMERICS
from harness.command_engine import Answer, CommandEngine, CommandFailed, Speed, ask
from harness.command_proof import AGAIN, ONE_BY_ONE, against_oracle, not_provided, with_itself
from harness.empty_row import empty_row
from harness.environment import environment
from harness.job import Probe
from harness.measure import spread
from harness.progress import SweepProgress
from harness.proof import ProofTokens, proof_tokens
from harness.schema import FOREIGN, Check, Metrics, Plan, PlannedRow, Row, Shape, Spread, row_key
from harness.store import ENVIRONMENT, PLAN, RowWriter, new_run_folder, utc_now, write_record
from harness.words import plural
from harness.work_model import decode_work, prefill_work
from reference.spec.model import Model


@dataclass(frozen=True, kw_only=True)
class CommandSweep:
    """What was asked for."""

    engine: CommandEngine
    file: models.ModelFile
    shapes: tuple[Shape, ...]
    repeats: int
    cache: Path
    results: Path
    command: str


def run_command_sweep(sweep: CommandSweep, progress: SweepProgress) -> Path:
    """Make a row for each shape; returns the run folder. What an engine does wrong is a row's status."""
    model = models.open_file(sweep.file.path)
    for shape in sweep.shapes:
        oracle.checked_tokens(model, _tokens(model, shape).ids)  # too long for the model: before anything is made
    toggles: dict[str, str | int] = {"engine": sweep.engine.spec.name, "kv": sweep.engine.spec.kv}
    planned = [_planned(sweep, shape, toggles) for shape in sweep.shapes]
    probe = Probe(description="", gpu=None, free_bytes=0, compile_flags="", ceilings=())
    made = environment(FOREIGN, probe, command=sweep.command)
    folder = new_run_folder(sweep.results)
    plan = Plan(started=utc_now(), command=sweep.command, rows=tuple(planned), device=FOREIGN, repeats=sweep.repeats)
    write_record(folder / PLAN, plan)
    write_record(folder / ENVIRONMENT, made)
    facts = sweep.file.facts
    progress.say(f"engine {sweep.engine.spec.name}: {plural(len(planned), 'row')} of {facts.name} {facts.quant}")
    progress.begin(len(planned), 0)
    writer = RowWriter(folder)
    try:
        for row in planned:
            progress.started(row)
            finished = _row(sweep, model, row, made.id)
            writer.append(finished)
            progress.finished(finished)
    finally:
        writer.close()
    return folder


def _planned(sweep: CommandSweep, shape: Shape, toggles: Mapping[str, str | int]) -> PlannedRow:
    facts = sweep.file.facts
    spec = msgspec.to_builtins(sweep.engine.spec)
    parts = [row_key(facts, shape, toggles, FOREIGN), sweep.repeats, spec, NUMERICS]
    row_id = hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()
    return PlannedRow(id=row_id, model=facts, shape=shape, toggles=dict(toggles), device=FOREIGN)


def _row(sweep: CommandSweep, model: Model, row: PlannedRow, made_in: str) -> Row:
    start = time.perf_counter()
    made = empty_row(row, made_in, "ok")
    try:
        proof, metrics = _proven(sweep, model, row.shape)
    except CommandFailed as error:
        made = msgspec.structs.replace(made, status=error.status, reason=str(error))
    else:
        failed = next((check for check in proof if check.status == "failed"), None)
        reason = f"{failed.name} ({failed.when}): {failed.reason}" if failed else ""
        made = msgspec.structs.replace(
            made, status="parity_failed" if failed else "ok", reason=reason, proof=proof, metrics=metrics
        )
    return msgspec.structs.replace(made, seconds=time.perf_counter() - start)


def _proven(sweep: CommandSweep, model: Model, shape: Shape) -> tuple[tuple[Check, ...], Metrics]:
    """Raises CommandFailed."""
    engine, spec = sweep.engine, sweep.engine.spec
    tokens, vocab, path = _tokens(model, shape), model.spec.vocab, sweep.file.path
    timed = (shape.generated, sweep.repeats) if "speed" in spec.provides else (0, 0)
    first = ask(engine, path, tokens.ids, vocab, generated=timed[0], repeats=timed[1])
    again = ask(engine, path, tokens.ids, vocab)
    expected = expected_logits(sweep, model, tokens)
    proof = [against_oracle(first.logits, expected, spec.bound, "before")]
    if "one_by_one" in spec.provides:
        slow = ask(engine, path, tokens.ids, vocab, mode="one_by_one")
        bound = spec.bound if spec.one_by_one == "bound" else None
        proof.append(with_itself(ONE_BY_ONE, slow.logits, first.logits, bound, "before"))
    else:
        proof.append(not_provided(ONE_BY_ONE, "before"))
    proof.append(against_oracle(again.logits, expected, spec.bound, "after"))
    proof.append(with_itself(AGAIN, again.logits, first.logits, None, "after"))
    return tuple(proof), _metrics(sweep, model, shape, first)


def expected_logits(sweep: CommandSweep, model: Model, tokens: ProofTokens) -> NDArray[Any]:
    """The oracle's, (tokens, vocab): float64 of the ideal form, or float32 of the exact one."""
    spec = sweep.engine.spec
    if spec.bound.against == "ideal":
        return oracle.ideal_logits(model, tokens.ids)
    return oracle.cached_exact_logits(model, sweep.file.facts.sha256, tokens.ids, kv=spec.kv, cache=sweep.cache)


def _tokens(model: Model, shape: Shape) -> ProofTokens:
    return proof_tokens(model.spec.vocab, prefilled=shape.prompt, decoded=shape.generated)


def _metrics(sweep: CommandSweep, model: Model, shape: Shape, answer: Answer) -> Metrics:
    """Bytes and operations are the file's, as for our own rows; speeds are what the engine says, or None."""
    size = models.size_of(model, sweep.engine.spec.kv)
    prefill = prefill_work(size, position=0, tokens=shape.prompt, batch=shape.prompt)
    decode = decode_work(size, position=shape.prompt, tokens=shape.generated)
    return Metrics(
        prefill_tps=_speed(sweep, answer.speeds, "prefill", shape.prompt),
        decode_tps=_speed(sweep, answer.speeds, "decode", shape.generated),
        bytes_per_token=decode.bytes,
        operations_per_token=decode.operations,
        prefill_bytes_per_token=prefill.bytes,
        prefill_operations_per_token=prefill.operations,
    )


def _speed(sweep: CommandSweep, speeds: Sequence[Speed], phase: str, tokens: int) -> Spread | None:
    """Raises CommandFailed for a speed of something else than was asked for."""
    found = next((speed for speed in speeds if speed.phase == phase), None)
    if found is None:
        return None
    if found.tokens != tokens:
        name = sweep.engine.spec.name
        raise CommandFailed("error", f"{name}: its {phase} speed is of {found.tokens} tokens, asked for {tokens}")
    return spread(found.tokens_per_second)
