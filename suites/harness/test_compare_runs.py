"""Two runs side by side: rows joined by what is measured, what moved on top, nothing lost on either side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.comparison import DERIVED, Comparison, RowPair, compare_runs, row_of
from harness.errors import BadCall
from harness.schema import Metrics, PlannedRow, Row, Samples, Spread
from harness.store import read_run
from suites.reports.stored_runs import VALUES, bad, differing, ok, planned, write_run

PLAN = planned(quants=("Q8_0",), contexts=(64,), device="cuda")  # eight rows
FIRST, SECOND = PLAN[0], PLAN[1]


def metrics(row: Row) -> Metrics:
    assert row.metrics is not None
    return row.metrics


def faster(plan: PlannedRow, factor: float) -> Row:
    """With a decode of another speed."""
    row = ok(plan)
    old = metrics(row).decode_tps
    assert old is not None
    values = tuple(value * factor for value in old.samples)
    new = Spread(median=old.median * factor, min=min(values), max=max(values), samples=values)
    return msgspec.structs.replace(row, metrics=msgspec.structs.replace(metrics(row), decode_tps=new))


def compared(tmp_path: Path, a: Sequence[Row], b: Sequence[Row], **environment: object) -> Comparison:
    left = write_run(tmp_path / "a", a)
    right = write_run(tmp_path / "b", b, environment=environment)
    return compare_runs(read_run(left), read_run(right))


def moved(found: Comparison) -> list[RowPair]:
    return [row for row in found.rows if row.moved]


def test_equal_runs_move_nothing(tmp_path: Path) -> None:
    rows = [ok(plan) for plan in PLAN]
    found = compared(tmp_path, rows, rows[::-1])
    assert [row.found for row in found.rows] == ["both"] * 8
    assert [row.key for row in found.rows] == [plan.key for plan in PLAN]
    assert moved(found) == []
    assert found.environments == ()
    assert found.exit_code == 0


def test_rows_are_joined_by_what_is_measured_not_by_their_ids(tmp_path: Path) -> None:
    """Another code gives other ids; another KV type is another row."""
    again = msgspec.structs.replace(ok(FIRST), id="of other code")
    found = compared(tmp_path, [ok(FIRST), ok(PLAN[4])], [again])
    assert [(row.found, row.key) for row in found.rows] == [("only a", PLAN[4].key), ("both", FIRST.key)]
    assert FIRST.toggles["kv"] != PLAN[4].toggles["kv"]


@pytest.mark.parametrize("last", [False, True])
def test_of_a_configuration_that_a_merged_run_has_twice_the_worst_counts(tmp_path: Path, last: bool) -> None:
    failed = bad(msgspec.structs.replace(FIRST, id="of other code"), "parity_failed", "why")
    rows = [ok(FIRST), failed] if last else [failed, ok(FIRST)]
    plan = [FIRST, msgspec.structs.replace(FIRST, id=failed.id)]
    left = write_run(tmp_path / "a", [ok(FIRST)])
    right = write_run(tmp_path / "b", rows, plan=plan if last else plan[::-1])
    found = compare_runs(read_run(left), read_run(right))
    assert [(row.a, row.b) for row in found.rows] == [("ok", "parity_failed")]
    assert found.exit_code == 1


def test_rows_of_one_run_alone_are_listed(tmp_path: Path) -> None:
    found = compared(tmp_path, [ok(FIRST), ok(SECOND)], [ok(SECOND), ok(PLAN[2])])
    assert {row.key: row.found for row in found.rows} == {
        FIRST.key: "only a", SECOND.key: "both", PLAN[2].key: "only b",
    }  # fmt: skip
    assert moved(found) == []


@pytest.mark.parametrize(("factor", "moves"), [(1.0, False), (1.015, False), (0.985, False), (1.08, True), (0.9, True)])
def test_a_time_moved_if_the_ranges_leave_each_other(tmp_path: Path, factor: float, moves: bool) -> None:
    found = compared(tmp_path, [ok(FIRST), ok(SECOND)], [ok(FIRST), faster(SECOND, factor)])
    assert [row.key for row in moved(found)] == ([SECOND.key] if moves else [])
    assert found.rows[0].key == (SECOND.key if moves else FIRST.key)  # on top
    figure = next(f for f in row_of(found, SECOND.key).figures if f.name == "decode_tps")
    assert figure.ratio == pytest.approx(factor)
    assert figure.moved is moves


def test_how_a_time_was_sampled_is_explained(tmp_path: Path) -> None:
    row = ok(FIRST)
    samples = Samples(
        unit="us", values=(10.0, 12.0, 11.0), median=11.0, stderr=0.01, sm_mhz=(1980.0, 1755.0), discarded=2,
        reasons={"sw_power_cap": 1}, temperature_c=(40, 51),
    )  # fmt: skip
    sampled = msgspec.structs.replace(row, metrics=msgspec.structs.replace(metrics(row), decode=samples))
    assert compared(tmp_path, [row], [sampled]).rows[0].samples == (
        "decode: not sampled against 3 samples, median 11 us, standard error 1.00 %, 1,755 to 1,980 MHz, 40 to 51 C, "
        "2 thrown away, sw_power_cap 1 x",
    )


def test_one_launch_more_is_a_move(tmp_path: Path) -> None:
    row = ok(FIRST)
    more = msgspec.structs.replace(metrics(row), launches_per_token=2.0)
    found = compared(tmp_path, [row], [msgspec.structs.replace(row, metrics=more)])
    assert found.rows[0].moved == ("launches_per_token: 1 became 2",)


def test_a_path_that_engages_no_longer_is_a_move(tmp_path: Path) -> None:
    row = ok(FIRST)
    graph = msgspec.structs.replace(row.engaged["graph"], engaged=False)
    found = compared(tmp_path, [row], [msgspec.structs.replace(row, engaged={**row.engaged, "graph": graph})])
    assert found.rows[0].moved == ("graph: engaged became not engaged",)


def test_a_proof_that_fails_is_a_move_and_an_exit_code(tmp_path: Path) -> None:
    row = ok(FIRST)
    first = row.proof[0]
    proof = (differing(first.name, first.when), *row.proof[1:])
    failed = msgspec.structs.replace(row, status="parity_failed", proof=proof)
    found = compared(tmp_path, [row, ok(SECOND)], [failed, ok(SECOND)])
    assert found.rows[0].key == FIRST.key
    assert found.rows[0].moved[0] == "ok became parity_failed"
    assert any("passed became failed" in text for text in found.rows[0].moved)
    assert found.exit_code == 1


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        ({"status": "not_applicable"}, "passed became not_applicable", 3),
        ({"values": VALUES - 1}, f"{VALUES} values compared became {VALUES - 1}", 3),
        ({"values": VALUES + 1}, "", 0),
        ({"status": "failed", "differing": 1}, "passed became failed", 1),
        ({"differing": 1}, "", 1),
    ],
)
def test_a_row_that_is_called_ok_with_less_of_a_proof_is_no_pass(
    tmp_path: Path, change: dict[str, object], said: str, code: int
) -> None:
    row = ok(FIRST)
    first = row.proof[0]
    less = msgspec.structs.replace(row, proof=(msgspec.structs.replace(first, **change), *row.proof[1:]))
    found = compared(tmp_path, [row], [less])
    assert found.rows[0].lost == ((f"{first.name} ({first.when}): {said}",) if said else ())
    assert set(found.rows[0].lost) <= set(found.rows[0].moved)
    assert found.exit_code == code


def test_a_check_that_is_gone_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ok(FIRST)
    found = compared(tmp_path, [row], [msgspec.structs.replace(row, proof=row.proof[1:])])
    lost = f"{row.proof[0].name} ({row.proof[0].when}): passed became not there"
    assert found.rows[0].moved == found.rows[0].lost == (lost,)
    assert found.exit_code == 3
    assert zeroulp(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 3
    last = "CANNOT TELL: 1 row in both, 1 moved, 1 with less of a proof; "
    assert capsys.readouterr().out.splitlines()[-1].startswith(last)


def test_a_row_that_was_not_run_is_said(tmp_path: Path) -> None:
    left = write_run(tmp_path / "a", [ok(FIRST), ok(SECOND)])
    right = write_run(tmp_path / "b", [ok(FIRST)], plan=[FIRST, SECOND])
    found = compare_runs(read_run(left), read_run(right))
    assert row_of(found, SECOND.key).moved[0] == "ok became not run"
    assert found.exit_code == 1


def test_a_crash_takes_the_figures_along(tmp_path: Path) -> None:
    found = compared(tmp_path, [ok(FIRST)], [bad(FIRST, "crashed", "signal 11")])
    assert found.rows[0].moved[0] == "ok became crashed"
    assert {figure.b for figure in found.rows[0].figures} == {None}
    assert all(figure.moved for figure in found.rows[0].figures if figure.name not in DERIVED)


def test_other_environments_are_said(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        [ok(FIRST)],
        [ok(FIRST)],
        python="3.12.1",
        libraries={"numpy": "9"},
        command="other",
        compile_flags={"host": "-O2 -ffp-contract=off", "command": ""},
    )
    assert found.environments == (
        "python: 3.11.7 against 3.12.1",
        "libraries numpy: 2.2.0 against 9",
        "libraries msgspec: 0.19.0 against nothing",
    )


def test_runs_without_a_row_in_common_cannot_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(tmp_path, [ok(FIRST)], [ok(SECOND)]).exit_code == 3
    assert zeroulp(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 3
    assert capsys.readouterr().out.splitlines()[-1].startswith("CANNOT TELL: 0 rows in both")


def test_a_row_that_vanished_is_no_pass(tmp_path: Path) -> None:
    rows = [ok(FIRST), ok(SECOND)]
    assert compared(tmp_path / "less", rows, rows[:1]).exit_code == 3
    assert compared(tmp_path / "more", rows[:1], rows).exit_code == 0
    gone = [ok(FIRST), bad(SECOND, "crashed", "why")]
    assert compared(tmp_path / "crashed", gone, rows[:1]).exit_code == 3
    never = [ok(FIRST), bad(SECOND, "not_applicable", "no such path")]
    assert compared(tmp_path / "never", never, rows[:1]).exit_code == 0
    write_run(tmp_path / "unmade", rows[:1], plan=[FIRST, SECOND])
    unmade = read_run(tmp_path / "unmade")
    assert compare_runs(unmade, unmade, shared=True).exit_code == 3
    failed = [bad(FIRST, "parity_failed", "why")]
    assert compared(tmp_path / "failed", rows, failed).exit_code == 1


@pytest.mark.parametrize("key", ["", "zz"])
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(BadCall, match=r"rows? ha(ve|s) such a key, expected one"):
        row_of(compared(tmp_path, [ok(FIRST)], [ok(FIRST)]), key)


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    compared(tmp_path, [ok(FIRST), ok(SECOND), ok(PLAN[2])], [ok(FIRST), faster(SECOND, 0.5)])
    assert zeroulp(["compare", a, b]) == 3
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[1].startswith(SECOND.key[:8])
    assert "decode_tps" in lines[1]
    counts = f"2 rows in both, 1 moved; 1 only in {a}, 0 only in {b}"
    assert lines[-1] == f"CANNOT TELL: {counts}; --shared if that is meant"
    assert zeroulp(["compare", a, b, "--shared"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == counts
    assert zeroulp(["compare", a, b, "--only", "moved", "--shared", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["key"] for row in result["rows"]] == [SECOND.key]
    assert result["exit_code"] == 0
    assert zeroulp(["compare", a, b, "--only", "alone", "--json"]) == 3
    assert [row["found"] for row in json.loads(capsys.readouterr().out)["rows"]] == ["only a"]
    assert zeroulp(["compare", a, b, "--explain", SECOND.key[:6]]) == 3
    text = capsys.readouterr().out
    for name in (
        "decode_tps",
        "prefill_tps",
        "bytes_per_token",
        "memory_bytes",
        "B / A 0.5000, moved",
        ":graph:before: passed",
    ):
        assert name in text
    assert zeroulp(["compare", a, str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
