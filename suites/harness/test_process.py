"""One process, one model, all its rows: shuffled by the seed, each proven, and what cannot be is never a win."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from engine.session import Session
from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel, SessionEngine
from harness.adapters.models import ModelFile, open_file, size_of, synthetic
from harness.adapters.oracle import cached_exact_logits
from harness.adapters.protocol import Logits
from harness.adapters.sampled import OpByOp, sampled_parity
from harness.adapters.settings import canonical_toggles
from harness.canaries import canaries, read_ceiling
from harness.compare import Comparison
from harness.job import ProcessJob
from harness.measure import Measured
from harness.process import measure_process, measurement
from harness.proven import Proven, prove_one
from harness.rules import CAREFUL, Rules
from harness.runner import Finished, Pool, Task, run
from harness.sampling import Sampled, Take
from harness.schema import Ceiling, Check, Measurement, ModelFacts, PlannedRow, ProcessAnswer, Shape
from harness.work_model import works
from reference.spec.model import Model

SHAPE = Shape(prompt=5, generated=2, context=16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return synthetic("qwen3-tiny", "Q8_0", 1, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Kernels from where all suites keep them; oracle logits in a folder of this test."""
    kept = Path.home() / ".cache" / "zeroulp" / "host"
    kept.mkdir(parents=True, exist_ok=True)
    (tmp_path / "host").symlink_to(kept)
    return tmp_path


def rows(model: ModelFile) -> tuple[PlannedRow, ...]:
    settings: list[dict[str, str | int]] = [
        {"graph": "on"},
        {"graph": "off"},
        {"prefill": "sequential"},
        {"graph": "on", "kv": "f32"},
    ]
    return tuple(
        PlannedRow(id=f"r{i}", model=model.facts, shape=SHAPE, toggles=canonical_toggles(values), device="host")
        for i, values in enumerate(settings)
    )


def job(model: ModelFile, cache: Path, *planned: PlannedRow, seed: int = 1) -> ProcessJob:
    return ProcessJob(
        rows=planned or rows(model),
        model_path=str(model.path),
        cache=str(cache),
        seed=seed,
        rules=CAREFUL,
        canaries=True,
        answer=str(cache / "answer.json"),
    )


def test_all_rows_of_a_model_are_proven_and_none_has_a_time_on_the_host(model: ModelFile, cache: Path) -> None:
    answer = measure_process(job(model, cache))
    assert {found.id for found in answer.rows} == {"r0", "r1", "r2", "r3"}
    for found in answer.rows:
        assert (found.status, found.reason) == ("ok", "")
        assert (found.prefill, found.decode, found.limit) == (None, None, "")
        assert {(check.name, check.when) for check in found.proof if check.status == "passed"} >= {
            (name, when) for name in ("graph = direct", "engine = oracle") for when in ("before", "after")
        }
    by_id = {found.id: found for found in answer.rows}
    assert by_id["r0"].graph_kernels_per_token
    assert by_id["r1"].graph_kernels_per_token == 0
    assert (answer.canaries, answer.gpu, answer.gpu_state) == ((), None, None)
    assert msgspec.json.decode(msgspec.json.encode(answer), type=ProcessAnswer) == answer


def test_the_order_is_the_seed_s_and_every_row_answers_under_its_key(model: ModelFile, cache: Path) -> None:
    planned = rows(model)
    orders = set()
    for seed in range(4):
        answer = measure_process(job(model, Path(cache), *planned, seed=seed))
        assert answer.order == tuple(found.key for found in answer.rows)
        assert sorted(answer.order) == sorted(row.key for row in planned)
        orders.add(answer.order)
    assert len(orders) > 1
    assert measure_process(job(model, cache, *planned, seed=3)).order in orders


def test_one_wrong_bit_fails_its_rows_and_no_other(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: Any, kv: str, **options: Any) -> Logits:
        logits = cached_exact_logits(*arguments, kv=kv, **options).copy()
        if kv == "f32":
            logits[-1, 7] = np.nextafter(logits[-1, 7], np.float32(np.inf))
        return logits

    monkeypatch.setattr("harness.proven.cached_exact_logits", wrong)
    answer = measure_process(job(model, cache))
    assert {found.id: found.status for found in answer.rows} == {
        "r0": "ok",
        "r1": "ok",
        "r2": "ok",
        "r3": "parity_failed",
    }


def test_a_row_that_cannot_be_made_does_not_end_the_others(model: ModelFile, cache: Path) -> None:
    first, second, *_ = rows(model)
    bad = msgspec.structs.replace(first, shape=Shape(prompt=5, generated=2, context=2**40))
    answer = measure_process(job(model, cache, bad, second))
    by_id = {found.id: found for found in answer.rows}
    assert (by_id["r0"].status, by_id["r1"].status) == ("error", "ok")
    assert "context" in by_id["r0"].reason


def test_without_its_model_every_row_says_so(model: ModelFile, cache: Path) -> None:
    answer = measure_process(msgspec.structs.replace(job(model, cache), model_path=str(cache / "gone.gguf")))
    assert [found.status for found in answer.rows] == ["error"] * 4
    assert all("gone.gguf" in found.reason for found in answer.rows)


def test_rows_of_two_models_are_refused(model: ModelFile, cache: Path) -> None:
    first, second, *_ = rows(model)
    other = msgspec.structs.replace(second, model=ModelFacts(name="x", quant="Q8_0", sha256="", bytes=1))
    answer = measure_process(job(model, cache, first, other))
    assert {found.status for found in answer.rows} == {"error"}
    assert "several models" in answer.rows[0].reason


def test_the_worker_answers_a_process_job(model: ModelFile, cache: Path) -> None:
    task = Task(key="process", job=job(model, cache, rows(model)[0]), log=cache / "log")
    finished = list(run([task], Pool(workers=1, timeout=300, environment=os.environ)))[-1]
    assert isinstance(finished, Finished)
    answer = msgspec.json.decode(finished.answer, type=ProcessAnswer)
    assert [(found.id, found.status) for found in answer.rows] == [("r0", "ok")]


def test_the_oracle_is_asked_once_for_the_same_bits(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large model: graph on, graph off and sequential have one session of checked ops, kv f32 has another."""
    asked: list[str] = []

    def counted(session: Session, *arguments: Any) -> tuple[Comparison, str]:
        asked.append(session.toggles.kv)
        return sampled_parity(session, *arguments)

    monkeypatch.setattr("harness.proven.WHOLE_ORACLE_BYTES", 0)
    monkeypatch.setattr("harness.adapters.engine.sampled_parity", counted)
    answer = measure_process(job(model, cache))
    assert [found.status for found in answer.rows] == ["ok"] * 4
    assert sorted(asked) == ["f16", "f32"]


def test_logits_that_differ_from_those_the_oracle_vouched_for_are_not_vouched_for(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.proven.WHOLE_ORACLE_BYTES", 0)
    row = rows(model)[0]
    with opened("host", cache) as device, LoadedModel(device, open_file(model.path)) as loaded:
        engine = loaded.engine(row.toggles, context=SHAPE.context)
        tokens = np.arange(4)
        logits = np.concatenate([engine.prefill(tokens, all_logits=True), engine.decode(7)[None]])
        engine.close()
        for wrong in (0, 1, 0):
            spoiled = logits.copy()
            spoiled[-1, :wrong] = np.nextafter(spoiled[-1, :wrong], np.float32(np.inf))
            assert loaded.sampled_parity(row.toggles, tokens, [7], spoiled, kept=None)[0].differing == wrong


def test_rows_that_differ_in_their_context_alone_share_their_twins(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[int] = []
    make = LoadedModel.engine

    def counted(self: LoadedModel, toggles: Any, *, context: int, **options: Any) -> SessionEngine:
        contexts.append(context)
        return make(self, toggles, context=context, **options)

    monkeypatch.setattr(LoadedModel, "engine", counted)
    first, second, *_ = rows(model)
    longer = msgspec.structs.replace(first, id="longer", shape=msgspec.structs.replace(SHAPE, context=64))
    answer = measure_process(job(model, cache, first, longer))
    assert [found.status for found in answer.rows] == ["ok", "ok"]
    assert [len(found.proof) for found in answer.rows] == [len(answer.rows[0].proof)] * 2
    assert sorted(contexts.count(context) for context in set(contexts)) == [1, 3]  # graph and prefill flipped, once
    contexts.clear()
    measure_process(job(model, cache, first, second))
    assert len(contexts) == 6  # other toggles have twins of their own


def test_a_process_says_where_its_seconds_went(model: ModelFile, cache: Path) -> None:
    answer = measure_process(job(model, cache, *rows(model)[:2]))
    assert set(answer.spent) == {"opening", "canaries"}
    assert all(set(found.spent) == {"proof", "times"} for found in answer.rows)
    parts = [*answer.spent.values(), *(seconds for found in answer.rows for seconds in found.spent.values())]
    assert 0.5 * answer.seconds < sum(parts) <= answer.seconds
    assert min(parts) >= 0


def test_a_later_process_asks_again_for_other_code_and_for_one_check_alone(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Counted(OpByOp):
        def __init__(self, model: Model, *, context: int, kv: str) -> None:
            asked.append(kv)
            super().__init__(model, context=context, kv=kv)

    monkeypatch.setattr("harness.proven.WHOLE_ORACLE_BYTES", 0)
    monkeypatch.setattr("harness.adapters.sampled.OpByOp", Counted)
    one = rows(model)[0]
    extents = []
    for _ in range(2):
        (found,) = measure_process(job(model, cache, one)).rows
        assert found.status == "ok"
        extents += [(check.right, check.values) for check in found.proof if check.name == "engine = oracle"]
    assert len(asked) == 1
    assert len({values for _, values in extents}) == 1
    assert [text.endswith("asked about these values before") for text, _ in extents] == [False, False, True, True]
    monkeypatch.setattr("harness.adapters.vouched.code_hash", lambda paths: "other code")
    assert measure_process(job(model, cache, one)).rows[0].status == "ok"
    assert len(asked) == 2
    with opened("host", cache) as device, LoadedModel(device, open_file(model.path)) as loaded:
        assert prove_one(loaded, one, "engine = oracle", "before", cache=cache).status == "passed"
    assert len(asked) == 3


def test_what_the_oracle_refused_is_asked_again(model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def refused(session: Session, *arguments: Any) -> tuple[Comparison, str]:
        found, text = sampled_parity(session, *arguments)
        asked.append(found.same)
        return replace(found, differing=1), text

    monkeypatch.setattr("harness.proven.WHOLE_ORACLE_BYTES", 0)
    monkeypatch.setattr("harness.adapters.engine.sampled_parity", refused)
    answer = measure_process(job(model, cache, rows(model)[0]))
    assert answer.rows[0].status == "parity_failed"
    assert len(asked) == 2


# ---- figures of a GPU, which is not here: made of takes ----------------------------------------------------------


def sampled(us: float, *, slowed: int = 0) -> Sampled:
    take = Take(device_us=us, host_us=us, issue_us=us, sm_mhz=1500.0)
    return Sampled(
        kept=(take,) * 50,
        discarded=slowed,
        reasons={"hw_slowdown": slowed},
        temperature_c=None,
        throttled=f"{slowed} of 50 samples" if slowed else "",
    )


def measured(model: ModelFile, *, decode_us: float, slowed: int = 0, failed: bool = False) -> Measurement:
    """Of two tokens in `decode_us`, against a read ceiling of 1000 GB/s."""
    row = rows(model)[0]
    proven = Proven(
        key="k",
        measured=Measured(
            shape=SHAPE,
            run=2,
            prefill=sampled(1e6),
            decode=sampled(decode_us, slowed=slowed),
            verify=None,
            launches_per_token=4.0,
            graph_kernels_per_token=29.0,
            prefill_launches_per_token=2.0,
        ),
        proof=(Check(name="graph = direct", when="after", status="failed" if failed else "passed"),),
        engaged={},
        memory_bytes=0,
        spent={"proof": 2.0, "times": 3.0},
    )
    size = size_of(open_file(model.path), "f16")
    ceilings = (Ceiling(name="read", unit="GB/s", median=1000.0, min=1000.0, max=1000.0, samples=1),)
    return measurement(row, proven, size, ceilings, limit_share=CAREFUL.limit_share)


def least_us(model: ModelFile) -> float:
    """Of two decoded tokens at 1000 GB/s."""
    _, decode = works(rows(model)[0], size_of(open_file(model.path), "f16"))
    return 2 * decode.bytes / 1e6


def test_times_are_of_a_token_and_of_a_prompt(model: ModelFile) -> None:
    found = measured(model, decode_us=1000.0)
    assert found.decode is not None
    assert found.prefill is not None
    assert (found.status, found.decode.median, found.prefill.median) == ("ok", 500.0, 1e6)
    assert found.decode.sm_mhz == (1500.0,) * 50


@pytest.mark.parametrize(("share", "status"), [(1.04, "ok"), (1.06, "error")])
def test_a_row_faster_than_the_machine_is_an_error_not_a_win(model: ModelFile, share: float, status: str) -> None:
    found = measured(model, decode_us=least_us(model) / share)
    assert found.status == status
    if status == "error":
        assert found.limit == found.reason == "decode at 106 % of the measured ceiling read (1,000 GB/s)"
        assert found.decode is not None  # the figure stays to be looked at


def test_a_slowed_gpu_is_a_status_and_differing_bits_come_first(model: ModelFile) -> None:
    found = measured(model, decode_us=1000.0, slowed=9)
    assert (found.status, found.reason) == ("throttled", "decode: 9 of 50 samples")
    assert measured(model, decode_us=1000.0, slowed=9, failed=True).status == "parity_failed"
    assert measured(model, decode_us=least_us(model) / 2, failed=True).status == "parity_failed"


def test_the_canaries_are_sampled_by_the_rules_and_say_what_the_memory_can() -> None:
    def take(us: float, *, slowed: bool = False) -> Take:
        return Take(device_us=us, host_us=us, issue_us=us, reasons=("hw_slowdown",) if slowed else ())

    rules = Rules(warm_seconds=(0.0, 0.0), samples=(3, 5))
    works = {
        "copy": (lambda: take(200.0), 0),
        "matvec": (lambda: take(100.0), 4 * 10**8),
        "empty_graph": (lambda: take(1.0, slowed=True), 0),
    }
    found = canaries(works, rules)
    assert [(canary.name, canary.samples.median) for canary in found] == [("copy", 200.0), ("matvec", 100.0)]
    (ceiling,) = read_ceiling(works, found)
    assert (ceiling.name, ceiling.unit, ceiling.median) == ("read", "GB/s", 4000.0)
    assert read_ceiling(works, ()) == ()


def test_only_the_first_canary_finds_a_gpu_that_was_idle() -> None:
    seconds = {"copy": 0.0, "matvec": 0.0}

    def take(name: str) -> Take:
        seconds[name] += 1e-3
        return Take(device_us=1e3, host_us=1e3, issue_us=1e3)

    canaries({name: (partial(take, name), 0) for name in seconds}, CAREFUL)
    samples = 1e-3 * CAREFUL.samples[0]
    assert 0.5 <= seconds["copy"] - samples < 0.6
    assert 0.09 <= seconds["matvec"] - samples < 0.12


def test_rules_say_which_of_them_they_do_not_know() -> None:
    assert msgspec.convert({"seconds": 3.0}, Rules).seconds == 3.0
    with pytest.raises(msgspec.ValidationError, match="second"):
        msgspec.convert({"second": 3.0}, Rules)
