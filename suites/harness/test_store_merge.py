"""Runs of several machines as one: every line once, nobody's environment lost, the sources untouched."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.merge import merge_runs
from harness.schema import Target
from harness.store import PLAN, ROWS, read_environments, read_plan, read_run, write_record
from suites.harness.records import row
from suites.harness.test_store_index import a_run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_all_rows_of_all_machines(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path, "one", row("a"), row("b"), env="first"),
        a_run(tmp_path, "two", row("c", device="cuda"), env="second"),
    ]
    before = [content(run) for run in runs]
    made = merge_runs(runs, tmp_path / "both", command="merge")
    assert (made.runs, made.rows, made.repeated, made.problems) == (2, 3, 0, ())
    run = read_run(tmp_path / "both")
    assert [(found.id, found.environment) for found in run.rows] == [("a", "first"), ("b", "first"), ("c", "second")]
    assert run.missing == ()
    assert run.environment.id == "first"  # most rows
    assert run.problems == ("1 row was made in another environment than the one shown",)
    assert set(read_environments(tmp_path / "both")) == {"first", "second"}
    assert [content(run) for run in runs] == before


def test_a_line_that_both_have_is_kept_once_and_the_later_row_counts(tmp_path: Path) -> None:
    early = msgspec.structs.replace(row("b", status="crashed"), started="2026-01-01T00:00:00Z")
    late = msgspec.structs.replace(row("b"), started="2026-01-03T00:00:00Z")
    runs = [a_run(tmp_path, "one", row("a"), late), a_run(tmp_path, "two", row("a"), early)]
    for order in (runs, runs[::-1]):
        target = tmp_path / f"from {order[0].name}"
        made = merge_runs(order, target, command="merge")
        assert (made.rows, made.repeated) == (3, 1)
        assert {(found.id, found.status) for found in read_run(target).rows} == {("a", "ok"), ("b", "ok")}


def test_torn_lines_are_told_and_not_carried_over(tmp_path: Path) -> None:
    run = a_run(tmp_path, "one", row("a"))
    with (run / ROWS).open("ab") as file:
        file.write(b'{"schema"')
    made = merge_runs([run], tmp_path / "both", command="merge")
    assert made.problems == ("one: rows.jsonl line 2: torn, skipped",)
    assert read_run(tmp_path / "both").problems == ()


def test_a_folder_that_is_there_is_not_touched(tmp_path: Path) -> None:
    run = a_run(tmp_path, "one", row("a"))
    before = content(run)
    with pytest.raises(BadCall, match="is there already"):
        merge_runs([run], run, command="merge")
    assert content(run) == before


def test_merged_runs_merge_again(tmp_path: Path) -> None:
    one, two, three = (a_run(tmp_path, name, row(name), env=name) for name in ("x", "y", "z"))
    merge_runs([one, two], tmp_path / "xy", command="merge")
    merge_runs([tmp_path / "xy", three, one], tmp_path / "xyz", command="merge")
    assert {found.id for found in read_run(tmp_path / "xyz").rows} == {"x", "y", "z"}
    assert set(read_environments(tmp_path / "xyz")) == {"x", "y", "z"}


def test_the_command_makes_a_run_that_can_be_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [str(a_run(tmp_path, name, row(name))) for name in ("one", "two")]
    assert zeroulp(["store", "merge", *runs, "-o", str(tmp_path / "both")]) == 0
    assert "2 rows of 2 runs, 0 lines were in several" in capsys.readouterr().out
    assert zeroulp(["report", str(tmp_path / "both")]) in (0, 3)
    assert zeroulp(["store", "merge", *runs, "-o", str(tmp_path / "both")]) == 2
    assert "is there already" in capsys.readouterr().err


def test_bits_that_differed_on_one_machine_are_not_made_good_by_another(tmp_path: Path) -> None:
    early = msgspec.structs.replace(row("a", status="parity_failed"), started="2026-01-01T00:00:00Z")
    late = msgspec.structs.replace(row("a"), started="2026-01-03T00:00:00Z")
    runs = [a_run(tmp_path, "one", early), a_run(tmp_path, "two", late)]
    for order in (runs, runs[::-1]):
        target = tmp_path / f"from {order[0].name}"
        merge_runs(order, target, command="merge")
        assert [found.status for found in read_run(target).rows] == ["parity_failed"]


def test_targets_stay_each_once(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, name, row("a"), env="first") for name in ("one", "two")]
    shared = Target(name="t", where="", figure="decode_tps", must=1.0, rows=("a",))
    other = msgspec.structs.replace(shared, name="u")
    for run, targets in zip(runs, ((shared,), (shared, other)), strict=True):
        write_record(run / PLAN, msgspec.structs.replace(read_plan(run), targets=targets))
    merge_runs(runs, tmp_path / "both", command="merge")
    assert read_plan(tmp_path / "both").targets == (shared, other)
