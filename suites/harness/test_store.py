"""Rows survive the way to disk and back; what did not survive is told."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.errors import BadCall
from harness.schema import Environment, Plan, Row, Status
from harness.store import (
    ENVIRONMENT,
    PLAN,
    ROWS,
    RowWriter,
    new_run_folder,
    read_rows,
    read_run,
    write_atomically,
    write_record,
)
from suites.harness.records import environment, plan, row


@pytest.mark.parametrize(
    "record", [row("a"), row("b", device="cuda"), plan("a", "b"), environment()], ids=lambda r: type(r).__name__
)
def test_round_trip(record: Row | Plan | Environment) -> None:
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record


@pytest.mark.parametrize(
    "change",
    [{"schema": 3}, {"schema": 0}, {"status": "fine"}, {"strange": 1}, {"seconds": None}, {"id": 3}],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_foreign_line_is_a_problem_not_a_row(tmp_path: Path, change: dict[str, object]) -> None:
    line = msgspec.to_builtins(row("a")) | change
    (tmp_path / ROWS).write_bytes(msgspec.json.encode(line) + b"\n" + msgspec.json.encode(row("b")) + b"\n")
    rows, problems = read_rows(tmp_path / ROWS)
    assert [found.id for found in rows] == ["b"]
    assert len(problems) == 1
    assert "line 1" in problems[0]


def run_folder(results: Path, *keys: str) -> Path:
    folder = new_run_folder(results)
    write_record(folder / PLAN, plan(*keys))
    write_record(folder / ENVIRONMENT, environment())
    return folder


def append(folder: Path, *rows: Row) -> None:
    writer = RowWriter(folder)
    for item in rows:
        writer.append(item)
    writer.close()


def test_every_appended_row_is_on_disk_before_the_next(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a", "b")
    writer = RowWriter(folder)
    for count, key in enumerate(("a", "b"), start=1):
        writer.append(row(key))
        assert len(read_run(folder).rows) == count
    writer.close()


def test_torn_last_line_is_reported_and_skipped_and_the_next_row_is_whole(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a", "b", "c")
    append(folder, row("a"))
    whole = msgspec.json.encode(row("b"))
    with (folder / ROWS).open("ab") as file:
        file.write(whole[: len(whole) // 2])
    torn = read_run(folder)
    assert [found.id for found in torn.rows] == ["a"]
    assert [problem for problem in torn.problems if "torn" in problem] == ["rows.jsonl line 2: torn, skipped"]
    assert [missing.id for missing in torn.missing] == ["b", "c"]
    append(folder, row("c"))
    assert [found.id for found in read_run(folder).rows] == ["a", "c"]


def test_last_row_of_an_id_counts_and_the_plan_gives_the_order(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a", "b")
    append(folder, row("b"), row("a", status="crashed"), row("a"))
    run = read_run(folder)
    assert [(found.id, found.status) for found in run.rows] == [("a", "ok"), ("b", "ok")]
    assert run.missing == ()
    assert run.problems == ()


def test_rows_outside_the_plan_are_told(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a")
    append(folder, row("a"), row("x"), row("y"))
    run = read_run(folder)
    assert [found.id for found in run.rows] == ["a"]
    assert run.problems == ("2 rows were made with other code or another matrix than the plan's: not shown",)


def test_rows_of_another_environment_are_told(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a", "b")
    append(folder, row("a"), msgspec.structs.replace(row("b"), environment="other"))
    assert read_run(folder).problems == ("1 row was made in another environment than the one shown",)


@pytest.mark.parametrize("missing", [PLAN, ENVIRONMENT])
def test_a_folder_without_its_records_is_no_run(tmp_path: Path, missing: str) -> None:
    folder = run_folder(tmp_path, "a")
    (folder / missing).unlink()
    with pytest.raises(BadCall, match=missing):
        read_run(folder)


def test_a_record_of_another_schema_is_refused_by_name(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a")
    (folder / PLAN).write_text('{"schema": 99}')
    with pytest.raises(BadCall, match=r"plan that can be read \(schema 99, expected 1 to 2\)"):
        read_run(folder)


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    target.write_text("before")
    with pytest.raises(TypeError):
        write_atomically(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("letter", ["f", "\u00e9"])
def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path, letter: str) -> None:
    most = letter * (255 // len(letter.encode()))
    write_atomically(tmp_path / most, b"whole")
    assert (tmp_path / most).read_bytes() == b"whole"
    with pytest.raises(BadCall, match=r"cannot write \(File name too long\)"):
        write_atomically(tmp_path / (most + letter), b"")
    assert len(list(tmp_path.iterdir())) == 1


def test_results_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in the way")
    with pytest.raises(BadCall, match=r"results folder .*results"):
        new_run_folder(tmp_path / "results")


@pytest.mark.parametrize("statuses", [("parity_failed", "ok"), ("ok", "parity_failed"), ("ok", "parity_failed", "ok")])
def test_a_parity_failure_is_not_replaced_by_a_later_row(tmp_path: Path, statuses: tuple[Status, ...]) -> None:
    folder = run_folder(tmp_path, "a")
    append(folder, row("a", status="crashed"), *(row("a", status=status) for status in statuses))
    assert [found.status for found in read_run(folder).rows] == ["parity_failed"]


def test_a_row_of_another_configuration_does_not_stand_for_a_planned_one(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "a", "b")
    append(folder, msgspec.structs.replace(row("a"), toggles={**row("a").toggles, "graph": "?"}), row("b"))
    run = read_run(folder)
    assert [found.id for found in run.rows] == ["b"]
    assert [planned.id for planned in run.missing] == ["a"]
    assert run.problems == ("1 row is of another model, shape, toggles or device than planned: not shown",)
