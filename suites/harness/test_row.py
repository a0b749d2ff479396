"""One real row on the host device: its proof, its counts, and what becomes of it when something is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from harness.adapters.models import ModelFile, open_file, synthetic
from harness.adapters.oracle import cached_exact_logits
from harness.adapters.protocol import Logits
from harness.adapters.settings import canonical_toggles
from harness.adapters.timing import Timing
from harness.check_names import AT_DEPTH, VERIFIED
from harness.job import RowJob
from harness.measure import VERIFY_PASSES
from harness.row import make_row
from harness.sampling import Take
from harness.schema import PlannedRow, Row, Shape
from reference.synth import SynthShape, synth_shape

SHAPE = Shape(prompt=9, generated=3, context=16, depth=2)
ALL_POSITIONS = (9 + 3) * 512  # prefilled and decoded, vocabulary of qwen3-tiny


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    return synthetic("qwen3-tiny", "Q4_K_M", 1, tmp_path_factory.mktemp("cache"))


def row(model: ModelFile, cache: Path, *, shape: Shape = SHAPE, **toggles: str | int) -> Row:
    planned = PlannedRow(
        id="k", model=model.facts, shape=shape, toggles=canonical_toggles({"chunk": 4, **toggles}), device="host"
    )
    job = RowJob(
        row=planned,
        model_path=str(model.path),
        cache=str(cache),
        repeats=2,
        read_ceiling=None,
        environment="e",
        answer="",
    )
    return make_row(job)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Kernels from where all suites keep them; oracle logits in a folder of this test."""
    kept = Path.home() / ".cache" / "zeroulp" / "host"
    kept.mkdir(parents=True, exist_ok=True)
    (tmp_path / "host").symlink_to(kept)
    return tmp_path


@pytest.mark.parametrize("kv", ["f16", "f32"])
@pytest.mark.parametrize(("graph", "prefill"), [("on", "batched"), ("off", "sequential")])
def test_a_row_is_proven_before_and_after_at_every_position(
    model: ModelFile, cache: Path, graph: str, prefill: str, kv: str
) -> None:
    made = row(model, cache, graph=graph, prefill=prefill, kv=kv)
    assert (made.status, made.reason) == ("ok", "")
    for when in ("before", "after"):
        states = {check.name: (check.status, check.values) for check in made.proof if check.when == when}
        deep = {AT_DEPTH: ("passed", 3 * 512)} if when == "after" else {}  # behind the depth and the prompt
        assert states == {
            "graph = direct": ("passed", ALL_POSITIONS),
            "batched = sequential": ("passed", ALL_POSITIONS),
            "pdl = no pdl": ("not_applicable", 0),
            "engine = oracle": ("passed", ALL_POSITIONS),
            **deep,
        }
    assert made.engaged["graph"].engaged is (graph == "on")
    assert made.engaged["prefill"].engaged is True


def test_rows_verified_at_once_are_proven_too(model: ModelFile, cache: Path) -> None:
    made = row(model, cache, shape=msgspec.structs.replace(SHAPE, verify=2))
    assert (made.status, made.reason) == ("ok", "")
    found = [(check.when, check.status, check.values) for check in made.proof if check.name == VERIFIED]
    assert found == [("before", "passed", 2 * 512), ("after", "passed", 2 * 512)]
    assert made.metrics is not None
    assert (made.metrics.verify, made.metrics.verify_ratio) == (None, None)  # an emulated time is none


@pytest.mark.parametrize("rows", [9, 16])
def test_all_rows_of_a_timed_pass_are_proven(model: ModelFile, cache: Path, rows: int) -> None:
    """A pass of more rows than a proof usually decodes takes other paths from some number on."""
    made = row(model, cache, shape=Shape(prompt=9, generated=20, context=32, verify=rows), chunk=16)
    assert (made.status, made.reason) == ("ok", "")
    found = [(check.status, check.values) for check in made.proof if check.name == VERIFIED]
    assert found == [("passed", rows * 512)] * 2


class EvenTimer:
    """Whatever is done takes 1.6 s, so that little is warm-up enough."""

    def take(self, work: Callable[[], None]) -> Take:
        work()
        return Take(device_us=1.6e6, host_us=1.6e6, issue_us=80.0)


def test_rows_at_once_stand_against_one_token(model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a timed run three tokens are decoded, of another VERIFY_PASSES passes of two rows are made."""
    monkeypatch.setattr(Timing, "timer", lambda timing, engine: EvenTimer())
    made = row(model, cache, shape=msgspec.structs.replace(SHAPE, verify=2))
    assert made.status == "ok"
    metrics = made.metrics
    assert metrics is not None
    assert metrics.decode is not None
    assert metrics.verify is not None
    assert metrics.decode.median == pytest.approx(1.6e6 / 3)
    assert metrics.verify.median == pytest.approx(1.6e6 / VERIFY_PASSES)
    assert metrics.verify_ratio == pytest.approx(3 / VERIFY_PASSES)
    assert row(model, cache).metrics.verify_ratio is None  # type: ignore[union-attr]


class RestlessTimer:
    """Every run takes a tenth longer than the one before."""

    def __init__(self) -> None:
        self.us = 1e5

    def take(self, work: Callable[[], None]) -> Take:
        work()
        self.us *= 1.1
        return Take(device_us=self.us, host_us=self.us, issue_us=80.0)


def test_a_warm_up_that_never_became_flat_is_said(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Timing, "timer", lambda timing, engine: RestlessTimer())
    made = row(model, cache)
    assert made.status == "ok"
    assert made.reason.startswith("decode: the warm-up of ")
    assert "; prefill: the warm-up of " in made.reason


def test_counts_of_graph_and_direct_launches(model: ModelFile, cache: Path) -> None:
    replayed, direct = row(model, cache, graph="on").metrics, row(model, cache, graph="off").metrics
    assert replayed is not None
    assert direct is not None
    assert replayed.graph_kernels_per_token is not None
    assert replayed.launches_per_token == 1
    # The embedding and a norm; three products, attention and the gated product of each of three layers; the head,
    # argmax and advance.
    assert replayed.graph_kernels_per_token == 2 + 5 * 3 + 3
    assert direct.launches_per_token == replayed.graph_kernels_per_token
    assert direct.graph_kernels_per_token == 0
    assert replayed.bytes_per_token == direct.bytes_per_token > model.facts.bytes / 2
    assert replayed.memory_bytes > model.facts.bytes


def test_sequential_prefill_issues_more_and_reads_more(model: ModelFile, cache: Path) -> None:
    batched, sequential = (row(model, cache, prefill=path, graph="off").metrics for path in ("batched", "sequential"))
    assert batched is not None
    assert sequential is not None
    assert sequential.prefill_launches_per_token is not None
    assert batched.prefill_launches_per_token is not None
    # Nine steps of an embedding and the kernels of one row; or passes of four, four and one row, the last with a head.
    one_row = 2 + 5 * 3 + 1
    assert round(SHAPE.prompt * sequential.prefill_launches_per_token) == 9 * one_row
    assert round(SHAPE.prompt * batched.prefill_launches_per_token) == 2 * (1 + 9 * 3) + one_row
    assert sequential.prefill_bytes_per_token > 2 * batched.prefill_bytes_per_token


def test_the_host_has_no_speed(model: ModelFile, cache: Path) -> None:
    metrics = row(model, cache).metrics
    assert metrics is not None
    assert (metrics.prefill_tps, metrics.decode_tps, metrics.host_us_per_token) == (None, None, None)
    assert metrics.percent_of_read_ceiling is None


def test_one_wrong_bit_of_the_oracle_is_a_failed_row(
    model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: Any, **options: Any) -> Logits:
        logits = cached_exact_logits(*arguments, **options).copy()
        logits[-1, 7] = np.nextafter(logits[-1, 7], np.float32(np.inf))
        return logits

    monkeypatch.setattr("harness.proven.cached_exact_logits", wrong)
    made = row(model, cache)
    assert made.status == "parity_failed"
    assert made.reason.startswith("engine = oracle (before): 1 of 6144 values differ")
    failed = [check for check in made.proof if check.status == "failed"]
    assert {check.name for check in failed} == {"engine = oracle"}
    assert [check.worst_ulp for check in failed] == [1, 1]
    assert failed[0].first_difference.startswith("[11, 7]: ")
    assert made.metrics is not None


def test_a_large_model_is_compared_op_by_op(model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.proven.WHOLE_ORACLE_BYTES", 0)
    made = row(model, cache)
    assert made.status == "ok"
    check = next(check for check in made.proof if check.name == "engine = oracle")
    steps = 2  # one pass, then the decoded tokens together
    assert f"{steps * (3 + 17 * open_file(model.path).spec.layers)} ops on sampled rows" in check.right
    assert check.values > 10_000


def test_too_little_memory_is_a_status(model: ModelFile, cache: Path) -> None:
    long = 2**30  # positions the model allows, terabytes of keys and values
    path = cache / "long.gguf"
    synth_shape(SynthShape(context=long), name="long", quant="Q8_0", seed=1, path=path)
    made = row(replace(model, path=path), cache, shape=msgspec.structs.replace(SHAPE, context=long))
    assert made.status == "out_of_memory"
    assert "MiB are free" in made.reason
    assert made.metrics is None


def test_a_model_that_cannot_be_read_is_a_status(model: ModelFile, cache: Path) -> None:
    made = row(replace(model, path=cache / "nowhere.gguf"), cache)
    assert made.status == "error"
    assert "nowhere.gguf" in made.reason


def test_oracle_logits_that_cannot_be_read_are_computed_again(model: ModelFile, cache: Path) -> None:
    assert row(model, cache).status == "ok"
    (kept,) = (cache / "oracle").glob("*.npy")
    whole = kept.read_bytes()
    for size in (0, 100, len(whole) - 1):
        kept.write_bytes(whole[:size])
        assert row(model, cache).status == "ok"
        assert kept.read_bytes() == whole


def test_oracle_logits_are_computed_once(model: ModelFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert row(model, cache).status == "ok"
    assert len(list((cache / "oracle").glob("*.npy"))) == 1

    def refuse(*arguments: Any, **options: Any) -> Logits:
        raise AssertionError("computed again")

    monkeypatch.setattr("harness.adapters.oracle.exact_logits", refuse)
    assert row(model, cache, graph="off").status == "ok"
    assert row(model, cache, kv="f32").reason == "AssertionError: computed again"
