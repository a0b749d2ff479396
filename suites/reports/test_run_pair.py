"""Two finished runs beside each other: parity and counts decide, times only describe, nothing vanishes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import BadCall
from harness.gate.schema import GateResult, RowVerdict
from harness.schema import Metrics, PlannedRow, Row
from harness.schema import Path as Engaged
from harness.store import read_run
from reports.pr import markdown
from reports.run_pair import NOT_PAIRED, compare_runs
from reports.selftest import SELFTEST
from suites.reports.stored_runs import GPU, bad, differing, ok, planned, write_run

PLAN = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))
ON_GPU = planned(("qwen3-8b",), ("Q4_K_M",), (4096,), ("f16",), device="cuda")


def compared(tmp_path: Path, base: Sequence[Row], head: Sequence[Row], **options: Any) -> GateResult:
    """`base` and `head` as run folders; options of `head` as in write_run."""
    before = write_run(tmp_path / "base", base, environment=options.pop("base_environment", None))
    return compare_runs(read_run(before), read_run(write_run(tmp_path / "head", head, **options)))


def found(result: GateResult, verdict: str, metric: str) -> list[RowVerdict]:
    return [row for row in result.rows if (row.verdict, row.metric) == (verdict, metric)]


def with_metrics(row: Row, **changes: float) -> Row:
    assert isinstance(row.metrics, Metrics)
    return msgspec.structs.replace(row, metrics=msgspec.structs.replace(row.metrics, **changes))


def test_the_same_rows_pass(tmp_path: Path) -> None:
    rows = [ok(row) for row in PLAN]
    result = compared(tmp_path, rows, rows)
    assert result.exit_code == 0
    assert result.headline == "PASS: 8 same"  # four rows, parity and counts of each
    assert sum(check.values for check in result.parity.checks) > 0
    assert "two finished runs: parity and counts decide" in markdown(result)


def test_rows_are_joined_by_what_they_compute_not_by_code(tmp_path: Path) -> None:
    base = [ok(msgspec.structs.replace(row, id=f"old{row.id}")) for row in PLAN]
    assert compared(tmp_path, base, [ok(row) for row in reversed(PLAN)]).headline == "PASS: 8 same"


def test_a_wrong_bit_of_head_fails_with_its_place_and_command(tmp_path: Path) -> None:
    head = [ok(row) for row in PLAN]
    head[2] = ok(
        PLAN[2], proof=(*head[2].proof, differing("graph = direct", "after", first="step 3, logit 17: 1 to 2"))
    )
    result = compared(tmp_path, [ok(row) for row in PLAN], head)
    assert result.exit_code == 1
    (wrong,) = found(result, "wrong", "parity")
    assert "graph = direct" in wrong.reason
    assert "step 3, logit 17: 1 to 2" in result.parity.first_divergence
    assert 'graph == "off"' in result.parity.reproduce
    assert result.parity.reproduce == wrong.rerun


def test_a_row_that_vanished_is_no_pass(tmp_path: Path) -> None:
    result = compared(tmp_path, [ok(row) for row in PLAN], [ok(row) for row in PLAN[:-1]])
    assert result.exit_code == 2
    (gone,) = found(result, "missing", "parity")
    assert gone.reason == "base has it, head does not"


@pytest.mark.parametrize("kept", [0, 3])
def test_planned_but_not_made_is_missing(tmp_path: Path, kept: int) -> None:
    result = compared(tmp_path, [ok(row) for row in PLAN], [ok(row) for row in PLAN[:kept]], plan=PLAN)
    assert result.exit_code == 2
    assert len(found(result, "missing", "parity")) == len(PLAN) - kept


def test_a_crash_and_too_little_proof(tmp_path: Path) -> None:
    head = [bad(PLAN[0], "crashed", "signal 11"), ok(PLAN[1], proof=()), *(ok(row) for row in PLAN[2:])]
    result = compared(tmp_path, [ok(row) for row in PLAN], head)
    assert result.exit_code == 2
    assert found(result, "broken", "parity")[0].reason == "signal 11"
    assert "nothing was compared" in found(result, "cannot_tell", "parity")[0].reason


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({"launches_per_token": 2.0}, "slower", "launches per token: 1 to 2"),
        ({"graph_kernels_per_token": 60.0}, "faster", "graph kernels per token: 61 to 60"),
        ({"launches_per_token": 0.5, "graph_kernels_per_token": 62.0}, "slower", "launches per token: 1 to 0.5"),
    ],
)
def test_counts_that_moved(tmp_path: Path, changes: dict[str, float], verdict: str, words: str) -> None:
    rows = [ok(row) for row in PLAN]
    result = compared(tmp_path, rows, [with_metrics(rows[0], **changes), *rows[1:]])
    (moved,) = found(result, verdict, "counts")
    assert words in moved.reason
    assert result.exit_code == (1 if verdict == "slower" else 0)


def test_a_path_that_no_longer_engages_is_a_regression(tmp_path: Path) -> None:
    rows = [ok(row) for row in PLAN]
    silent = {**rows[0].engaged, "graph": Engaged(asked="on", engaged=False, reason="fell back")}
    result = compared(tmp_path, rows, [msgspec.structs.replace(rows[0], engaged=silent), *rows[1:]])
    assert found(result, "slower", "counts")[0].reason == "graph no longer engages"
    assert result.exit_code == 1


def test_times_of_two_runs_describe_and_decide_nothing(tmp_path: Path) -> None:
    base = [ok(row) for row in ON_GPU]
    assert base[0].metrics is not None
    assert base[0].metrics.decode_tps is not None
    half = msgspec.structs.replace(base[0].metrics.decode_tps, median=base[0].metrics.decode_tps.median / 2)
    head = [
        msgspec.structs.replace(base[0], metrics=msgspec.structs.replace(base[0].metrics, decode_tps=half)),
        *base[1:],
    ]
    result = compared(tmp_path, base, head)
    time = found(result, "cannot_tell", "decode")[0]
    assert time.ratio == pytest.approx(2.0)
    assert time.head_us == pytest.approx(2e6 / base[0].metrics.decode_tps.median)
    assert time.reason == NOT_PAIRED
    assert result.exit_code == 0
    assert "8 times of separate runs, not paired" in markdown(result)


def test_times_of_two_gpus_are_not_set_beside_each_other(tmp_path: Path) -> None:
    rows = [ok(row) for row in ON_GPU]
    other = {"gpu": msgspec.structs.replace(GPU, uuid="GPU-1")}
    result = compared(tmp_path, rows, rows, base_environment=other)
    assert found(result, "cannot_tell", "decode") == []
    assert any("made on different machines" in note for note in result.notes)


def test_new_rows_are_judged_by_parity_alone(tmp_path: Path) -> None:
    result = compared(tmp_path, [ok(PLAN[0])], [ok(row) for row in PLAN])
    assert result.exit_code == 0
    assert len(found(result, "same", "parity")) == 4
    assert len(found(result, "same", "counts")) == 1
    assert "3 rows of head are not in base; parity alone was judged" in result.notes


def test_nothing_in_common_is_refused(tmp_path: Path) -> None:
    other: tuple[PlannedRow, ...] = planned(quants=("F16",), contexts=(320,))
    with pytest.raises(BadCall, match="no row of the same model, shape, toggles and device"):
        compared(tmp_path, [ok(row) for row in PLAN], [ok(row) for row in other])


def test_rows_that_apply_nowhere_cannot_tell(tmp_path: Path) -> None:
    rows = [bad(row, "not_applicable", "needs a GPU") for row in PLAN]
    assert compared(tmp_path, rows, rows).exit_code == 3


@pytest.mark.parametrize("unproven", [1, 4])
def test_rows_without_proof_cannot_tell(tmp_path: Path, unproven: int) -> None:
    rows = [ok(row) for row in PLAN]
    head = [ok(row, proof=()) for row in PLAN[:unproven]] + rows[unproven:]
    result = compared(tmp_path, rows, head)
    assert result.exit_code == 3
    assert result.headline.startswith(f"CANNOT TELL: {unproven} cannot tell")


def test_a_stored_selftest_is_shown_and_a_broken_one_refused(tmp_path: Path) -> None:
    rows = [ok(row) for row in PLAN]
    base, head = write_run(tmp_path / "base", rows), write_run(tmp_path / "head", rows)
    stored = (
        '{"faults": [{"name": "a", "caught": true, "by": "t"}, {"name": "clock drift", "caught": false, "by": ""}]}'
    )
    (head / SELFTEST).write_text(stored)
    text = markdown(compare_runs(read_run(base), read_run(head)))
    assert "the suites catch 1 of 2 planted faults; missed: clock drift" in text
    (head / SELFTEST).write_text('{"faults": 3}')
    with pytest.raises(BadCall, match=r"selftest\.json: not what"):
        compare_runs(read_run(base), read_run(head))
