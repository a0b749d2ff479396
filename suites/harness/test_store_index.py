"""The index and the table say what the lines say, every line; and can be made again at any time."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.index import build_index
from harness.schema import Gpu, Row, Samples
from harness.store import ENVIRONMENT, PLAN, ROWS, RowWriter, write_record
from harness.table import COLUMNS
from suites.harness.records import environment, plan, planned, row

GPU = Gpu(
    name="Some GPU", uuid="0f", compute_capability="9.0", multiprocessors=1, memory_bytes=1, driver="13.0", cuda="13.2"
)


def a_run(results: Path, name: str, *rows: Row, env: str = "e") -> Path:
    folder = results / name
    folder.mkdir(parents=True)
    owed = [msgspec.structs.replace(planned(made.id), toggles=made.toggles, device=made.device) for made in rows]
    write_record(folder / PLAN, msgspec.structs.replace(plan(), rows=tuple(owed)))
    write_record(folder / ENVIRONMENT, msgspec.structs.replace(environment(), id=env, gpu=GPU, git_commit="abc"))
    writer = RowWriter(folder)
    for made in rows:
        writer.append(msgspec.structs.replace(made, environment=env))
    writer.close()
    return folder


def asked(path: Path, question: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(question).fetchall()


def test_every_line_is_in_the_index(tmp_path: Path) -> None:
    a_run(tmp_path, "one", row("a", device="cuda"), row("b", status="crashed"))
    a_run(tmp_path, "two", row("a", device="cuda"), env="f")
    made = build_index([tmp_path], tmp_path / "index.sqlite")
    assert (made.runs, made.rows, made.problems) == (2, 3, ())
    found = asked(
        made.path, "SELECT run, id, status, decode_tps, gpu, git_commit, checks_passed FROM rows ORDER BY run, id"
    )
    assert found == [
        ("one", "a", "ok", 2.0, "Some GPU", "abc", 1),
        ("one", "b", "crashed", None, "Some GPU", "abc", 1),
        ("two", "a", "ok", 2.0, "Some GPU", "abc", 1),
    ]
    joined = "SELECT count(*) FROM rows AS x JOIN rows AS y USING (key) WHERE x.run = 'one' AND y.run = 'two'"
    assert asked(made.path, joined) == [(1,)]
    assert asked(made.path, "SELECT planned, device FROM runs WHERE run = 'one'") == [(2, "")]
    assert {name for (name,) in asked(made.path, "SELECT id FROM environments")} == {"e", "f"}
    assert asked(made.path, "PRAGMA journal_mode") == [("wal",)]


def test_the_index_is_made_of_the_lines_again(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "one", row("a"))
    path = build_index([folder], tmp_path / "index.sqlite").path
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("SELECT count(*) FROM rows")
        writer = RowWriter(folder)
        writer.append(row("b"))
        writer.close()
        assert build_index([folder], path).rows == 2
        assert asked(path, "SELECT id FROM rows ORDER BY id") == [("a",), ("b",)]
    assert asked(path, "PRAGMA integrity_check") == [("ok",)]
    assert sorted(file.name for file in tmp_path.iterdir() if "index" in file.name) == ["index.sqlite"]


def test_lines_that_cannot_be_read_are_told_and_in_the_index(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "one", row("a"))
    with (folder / ROWS).open("ab") as file:
        file.write(b'{"schema": 2, "id"')
    made = build_index([folder], tmp_path / "index.sqlite")
    assert made.problems == ("one: rows.jsonl line 2: torn, skipped",)
    assert asked(made.path, "SELECT text FROM problems") == [made.problems]


def test_device_times_and_discards_are_columns(tmp_path: Path) -> None:
    made = row("a", device="cuda")
    assert made.metrics is not None
    samples = Samples(unit="us", values=(5.0,), median=5.0, stderr=0.001, discarded=2)
    metrics = msgspec.structs.replace(made.metrics, prefill=samples, decode=samples)
    a_run(tmp_path, "one", msgspec.structs.replace(made, metrics=metrics))
    path = build_index([tmp_path], tmp_path / "i.sqlite").path
    assert asked(path, "SELECT prefill_us, decode_us, decode_stderr, discarded FROM rows") == [(5.0, 5.0, 0.001, 4)]


@pytest.mark.parametrize("there", [[], ["empty"]])
def test_no_run_is_one_line(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    with pytest.raises(BadCall, match="expected a run folder"):
        build_index([tmp_path], tmp_path / "index.sqlite")
    assert [path.name for path in tmp_path.iterdir()] == there


def test_runs_of_one_name_are_refused(tmp_path: Path) -> None:
    first, second = (a_run(tmp_path / side, "same", row("a")) for side in ("x", "y"))
    with pytest.raises(BadCall, match="two run folders are called same"):
        build_index([first, second], tmp_path / "index.sqlite")


def test_a_failed_build_leaves_the_old_index(tmp_path: Path) -> None:
    folder = a_run(tmp_path, "one", row("a"))
    path = build_index([folder], tmp_path / "index.sqlite").path
    before = path.read_bytes()
    (folder / ENVIRONMENT).write_text("{")
    with pytest.raises(BadCall, match=ENVIRONMENT):
        build_index([folder], path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.glob("*index*"))) == 1


# ---- the commands -------------------------------------------------------------------------------------------------


def test_the_command_builds_beside_the_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_run(tmp_path, "one", row("a"))
    assert zeroulp(["store", "index", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {"index": str(tmp_path / "index.sqlite"), "runs": 1, "rows": 1, "imported": 0, "problems": []}
    assert zeroulp(["store", "index", str(tmp_path)]) == 0
    assert "1 row and 0 imported figures of 1 run" in capsys.readouterr().out


def test_several_folders_need_a_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(a_run(tmp_path, name, row("a"))) for name in ("one", "two")]
    assert zeroulp(["store", "index", *folders]) == 2
    assert "expected -o" in capsys.readouterr().err
    assert zeroulp(["store", "index", *folders, "-o", str(tmp_path / "both.sqlite")]) == 0


def test_the_table_has_a_line_for_every_row(tmp_path: Path) -> None:
    a_run(tmp_path, "one", row("a", device="cuda"), msgspec.structs.replace(row("b"), reason='=1+1, "x"\nnext'))
    assert zeroulp(["store", "export", str(tmp_path), "-o", str(tmp_path / "rows.csv")]) == 0
    head, *lines = csv.reader(io.StringIO((tmp_path / "rows.csv").read_text(), newline=""))
    assert head == list(COLUMNS)
    table = [dict(zip(head, line, strict=True)) for line in lines]
    assert [(line["run"], line["id"], line["decode_tps"]) for line in table] == [("one", "a", "2.0"), ("one", "b", "")]
    assert table[1]["reason"] == '\'=1+1, "x"\nnext'  # no formula
    assert json.loads(table[0]["toggles"]) == row("a").toggles
