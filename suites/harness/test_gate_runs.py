"""Two finished runs beside each other: parity and counts decide, times are only shown, nothing vanishes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import BadCall
from harness.gate.runs import judge_runs
from harness.gate.schema import GateResult, RowVerdict, encode
from harness.measure import spread
from harness.schema import Metrics, Row
from harness.schema import Path as Engaged
from reports.gate_verdict import exit_code
from reports.pr import markdown
from suites.reports.stored_runs import GPU, bad, differing, ok, planned, write_run

PLAN = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))
ON_GPU = planned(("qwen3-8b",), ("Q4_K_M",), (4096,), ("f16",), device="cuda")
ROWS = [ok(row) for row in PLAN]


def compared(tmp_path: Path, base: Sequence[Row], head: Sequence[Row], **options: Any) -> GateResult:
    """`base` and `head` as run folders; options of `head` as in write_run. The report agrees with the exit code."""
    before = write_run(tmp_path / "base", base, environment=options.pop("base_environment", None))
    result = judge_runs(before, write_run(tmp_path / "head", head, **options))
    assert exit_code(result) == result.exit_code
    return result


def found(result: GateResult, verdict: str, metric: str) -> list[RowVerdict]:
    return [row for row in result.rows if (row.verdict, row.metric) == (verdict, metric)]


def with_metrics(row: Row, **changes: float) -> Row:
    assert isinstance(row.metrics, Metrics)
    return msgspec.structs.replace(row, metrics=msgspec.structs.replace(row.metrics, **changes))


def test_the_same_rows_pass(tmp_path: Path) -> None:
    result = compared(tmp_path, ROWS, ROWS)
    assert result.exit_code == 0
    assert result.headline == "PASS: 4 same"
    assert {row.metric for row in result.rows} == {"parity", "counts"}
    assert sum(check.values for check in result.parity.checks) > 0


def test_rows_are_joined_by_what_they_compute_not_by_code(tmp_path: Path) -> None:
    base = [ok(msgspec.structs.replace(row, id=f"old{row.id}")) for row in PLAN]
    assert compared(tmp_path, base, ROWS[::-1]).headline == "PASS: 4 same"


def test_the_same_folders_give_the_same_bytes(tmp_path: Path) -> None:
    base, head = write_run(tmp_path / "base", ROWS), write_run(tmp_path / "head", ROWS)
    assert encode(judge_runs(base, head)) == encode(judge_runs(base, head))
    assert {path.name for path in head.iterdir()} == {"plan.json", "environment.json", "rows.jsonl"}


def test_a_wrong_bit_of_head_fails_with_its_place_and_command(tmp_path: Path) -> None:
    wrong = differing("graph = direct", "after", first="step 3, logit 17: 1 to 2")
    result = compared(tmp_path, ROWS, [*ROWS[:2], ok(PLAN[2], proof=(*ROWS[2].proof, wrong)), ROWS[3]])
    assert result.exit_code == 1
    (row,) = found(result, "wrong", "parity")
    assert "graph = direct" in row.reason
    assert "step 3, logit 17: 1 to 2" in result.parity.first_divergence
    assert result.parity.reproduce == row.rerun
    assert row.rerun.startswith("zeroulp gate ")
    assert 'graph == "off"' in row.rerun


@pytest.mark.parametrize("lost", ["base", "head"])
def test_a_row_that_only_one_run_planned_is_missing(tmp_path: Path, lost: str) -> None:
    pair = (ROWS[:-1], ROWS) if lost == "base" else (ROWS, ROWS[:-1])
    result = compared(tmp_path, *pair)
    assert result.exit_code == 2
    (row,) = found(result, "missing", "parity")
    assert row.reason == f"{lost}: {lost} has no such row"


@pytest.mark.parametrize("kept", [0, 3])
def test_planned_but_not_made_is_missing(tmp_path: Path, kept: int) -> None:
    result = compared(tmp_path, ROWS, ROWS[:kept], plan=PLAN)
    assert result.exit_code == 2
    assert len(found(result, "missing", "parity")) == len(PLAN) - kept


def test_a_crash_and_too_little_proof_are_broken(tmp_path: Path) -> None:
    head = [bad(PLAN[0], "crashed", "signal 11"), ok(PLAN[1], proof=()), *ROWS[2:]]
    result = compared(tmp_path, ROWS, head)
    assert result.exit_code == 2
    reasons = [row.reason for row in found(result, "broken", "parity")]
    assert reasons[0] == "head crashed: signal 11"
    assert "nothing was proven before" in reasons[1]


@pytest.mark.parametrize(
    ("changes", "verdict", "code"),
    [
        ({"launches_per_token": 2.0}, "slower", 1),
        ({"graph_kernels_per_token": 60.0}, "faster", 0),
        ({"launches_per_token": 0.5, "graph_kernels_per_token": 62.0}, "slower", 1),
    ],
)
def test_counts_that_moved(tmp_path: Path, changes: dict[str, float], verdict: str, code: int) -> None:
    result = compared(tmp_path, ROWS, [with_metrics(ROWS[0], **changes), *ROWS[1:]])
    (row,) = found(result, verdict, "counts")
    assert "per token" in row.reason
    assert result.exit_code == code


def test_a_path_that_no_longer_engages_is_a_regression(tmp_path: Path) -> None:
    silent = {**ROWS[0].engaged, "graph": Engaged(asked="on", engaged=False, reason="fell back")}
    result = compared(tmp_path, ROWS, [msgspec.structs.replace(ROWS[0], engaged=silent), *ROWS[1:]])
    assert "graph engaged in base and not in head (fell back)" in found(result, "slower", "counts")[0].reason
    assert result.exit_code == 1


def test_times_of_two_runs_are_shown_and_never_a_verdict(tmp_path: Path) -> None:
    base = [ok(row) for row in ON_GPU]
    assert base[0].metrics is not None
    speed = base[0].metrics.decode_tps
    assert speed is not None
    half = spread([value / 2 for value in speed.samples])
    head = [msgspec.structs.replace(base[0], metrics=msgspec.structs.replace(base[0].metrics, decode_tps=half))]
    result = compared(tmp_path, base, [*head, *base[1:]])
    time = found(result, "cannot_tell", "decode")[0]
    assert time.ratio == pytest.approx(2.0)
    assert time.head_us == pytest.approx(2e6 / speed.median)
    assert result.exit_code == 3
    assert "8 times of separate runs, not paired" in markdown(result)


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_stored_median_that_is_not_that_of_its_samples_is_broken(tmp_path: Path, side: str) -> None:
    rows = [ok(row) for row in ON_GPU]
    assert rows[0].metrics is not None
    assert rows[0].metrics.decode_tps is not None
    forged = msgspec.structs.replace(rows[0].metrics.decode_tps, median=1.5)
    odd = [msgspec.structs.replace(rows[0], metrics=msgspec.structs.replace(rows[0].metrics, decode_tps=forged))]
    result = compared(tmp_path, *((odd + rows[1:], rows) if side == "base" else (rows, odd + rows[1:])))
    words = f"{side}: decode: 1.5 tokens/s is not the median of its {len(forged.samples)} samples"
    assert [row.reason for row in found(result, "broken", "parity")] == [words]
    assert result.exit_code == 2


def test_times_of_two_gpus_are_not_set_beside_each_other(tmp_path: Path) -> None:
    rows = [ok(row) for row in ON_GPU]
    other = {"gpu": msgspec.structs.replace(GPU, uuid="GPU-1")}
    result = compared(tmp_path, rows, rows, base_environment=other)
    assert {row.metric for row in result.rows} == {"parity", "counts"}
    assert any("different GPUs" in note for note in result.notes)


def test_what_could_not_be_read_is_noted(tmp_path: Path) -> None:
    result = compared(tmp_path, ROWS, ROWS, tail=b'{"torn')
    assert "head: rows.jsonl line 5: torn, skipped" in result.notes


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    other = [ok(row) for row in planned(quants=("F16",), contexts=(320,))]
    with pytest.raises(BadCall, match="no row of the same model, shape, toggles and device"):
        compared(tmp_path, ROWS, other)


def test_rows_that_apply_nowhere_are_refused(tmp_path: Path) -> None:
    rows = [bad(row, "not_applicable", "needs a GPU") for row in PLAN]
    with pytest.raises(BadCall, match="none of its rows"):
        compared(tmp_path, rows, rows)


@pytest.mark.parametrize("order", [1, -1])
def test_a_row_that_a_merged_run_holds_twice_is_judged_by_the_worse(tmp_path: Path, order: int) -> None:
    proof = (differing("graph = direct", "before"),)
    failed = ok(msgspec.structs.replace(PLAN[0], id="of other code"), status="parity_failed", proof=proof)
    result = compared(tmp_path, ROWS, [failed, *ROWS][::order])
    assert result.exit_code == 1
    assert [row.key for row in found(result, "wrong", "parity")] == [PLAN[0].key]


def test_a_row_that_a_merged_run_planned_twice_and_made_once_is_missing(tmp_path: Path) -> None:
    twice = [msgspec.structs.replace(PLAN[0], id="of other code"), *PLAN]
    result = compared(tmp_path, ROWS, ROWS, plan=twice)
    assert result.exit_code == 2
    assert [row.key for row in found(result, "missing", "parity")] == [PLAN[0].key]
