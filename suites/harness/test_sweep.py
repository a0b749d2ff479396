"""A sweep ends with a row, or a status, for everything it planned; resumed, it makes what it lacks and nothing else."""

from __future__ import annotations

import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import parse_config
from harness.errors import BadCall
from harness.planning import Sweep
from harness.progress import SweepProgress
from harness.schema import Row
from harness.store import RowWriter, read_run
from harness.sweep import Interrupted, run_sweep
from suites.harness import fake_worker

MATRIX = """\
schema = 1
timeout = 2
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 4, generated = 2, context = 8 }, { prompt = 5, generated = 2, context = 8 }]
[group.toggles]
graph = ["on", "off"]
"""

Make = Callable[..., Sweep]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(tmp_path: Path, cache: Path) -> Make:
    def sweep(mode: str = "answer", *, where: str = "", resume: Path | None = None, matrix: str = MATRIX) -> Sweep:
        return Sweep(
            config=parse_config(matrix, Path("mine.toml")),
            matrix=matrix,
            matrix_path="",
            where=where,
            device="host",
            repeats=0,
            results=tmp_path / "results",
            resume=resume,
            cache=cache,
            command="bench-allrows mine.toml",
            environment=dict(os.environ),
            workers=2,
            worker=(sys.executable, fake_worker.__file__, str(tmp_path / "jobs"), mode),
        )

    return sweep


def run(sweep: Sweep) -> Path:
    with SweepProgress(io.StringIO()) as progress:
        return run_sweep(sweep, progress)


def jobs(folder: Path) -> list[str]:
    """Ids of the rows that workers were asked for, since the last call."""
    path = folder.parents[1] / "jobs"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def test_every_row_of_the_matrix_is_made_once(make: Make) -> None:
    folder = run(make())
    stored = read_run(folder)
    assert [(row.shape.prompt, row.toggles["graph"]) for row in stored.rows] == [
        (4, "on"),
        (4, "off"),
        (5, "on"),
        (5, "off"),
    ]
    assert {row.status for row in stored.rows} == {"ok"}
    assert stored.missing == ()
    assert stored.problems == ()
    assert sorted(jobs(folder)) == sorted(row.id for row in stored.rows)
    assert not (folder / "logs").exists()


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        ("die", "crashed", "killed by SIGSEGV; about to die"),
        ("fail", "crashed", "exit status 1 without an answer; no answer from me"),
        ("hang", "hung", "no answer after 2 s"),
    ],
)
def test_a_worker_that_ends_badly_is_a_status_of_its_row_only(make: Make, mode: str, status: str, reason: str) -> None:
    stored = read_run(run(make(f"prompt=4:{mode}")))
    assert [row.status for row in stored.rows] == [status, status, "ok", "ok"]
    assert stored.rows[0].reason == reason
    assert stored.rows[0].metrics is None


def test_resume_makes_again_what_ended_badly_and_keeps_the_rest(make: Make) -> None:
    folder = run(make("prompt=4:die"))
    assert len(jobs(folder)) == 4
    assert run(make(resume=folder)) == folder
    stored = read_run(folder)
    assert {row.status for row in stored.rows} == {"ok"}
    assert sorted(jobs(folder)) == sorted(row.id for row in stored.rows if row.shape.prompt == 4)
    run(make(resume=folder))
    assert jobs(folder) == []


def test_rows_of_other_code_are_made_again(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(make())
    jobs(folder)
    monkeypatch.setattr("harness.planning.code_hash", lambda paths: "changed")
    run(make(resume=folder))
    assert len(jobs(folder)) == 4
    assert len(read_run(folder).rows) == 4


def test_where_selects_rows(make: Make) -> None:
    stored = read_run(run(make(where='graph == "on" and prompt == 5')))
    assert [(row.shape.prompt, row.toggles["graph"]) for row in stored.rows] == [(5, "on")]


def test_where_without_a_match_is_refused_and_leaves_nothing(make: Make) -> None:
    sweep = make(where='quant == "Q4_0"')
    with pytest.raises(BadCall, match="none of the 4 rows"):
        run(sweep)
    assert not sweep.results.exists()


def test_an_unknown_model_is_refused_and_leaves_nothing(make: Make) -> None:
    sweep = make(matrix=MATRIX.replace("qwen3-tiny", "qwen9-huge"))
    with pytest.raises(BadCall, match=r"qwen9-huge.*expected one of"):
        run(sweep)
    assert not sweep.results.exists()


def test_a_model_that_cannot_be_made_is_not_applicable(make: Make) -> None:
    odd = MATRIX.replace('["qwen3-tiny"]', '["qwen3-tiny", "qwen3-odd"]').replace('["Q8_0"]', '["Q8_0", "Q5_K_M"]')
    stored = read_run(run(make(matrix=odd)))
    refused = [row for row in stored.rows if row.status == "not_applicable"]
    assert {(row.model.name, row.model.quant) for row in refused} == {("qwen3-odd", "Q5_K_M")}
    assert "Q5_1" in refused[0].reason
    assert len(stored.rows) == 16


def test_an_interrupted_sweep_keeps_its_rows_and_can_be_resumed(make: Make) -> None:
    class Impatient(SweepProgress):
        rows = 0

        def finished(self, row: object) -> None:
            self.rows += 1
            if self.rows == 2:
                raise KeyboardInterrupt

    with Impatient(io.StringIO()) as progress, pytest.raises(Interrupted, match="2 of 4 rows are kept") as error:
        run_sweep(make(), progress)
    folder = error.value.folder
    assert len(read_run(folder).rows) == 2
    jobs(folder)
    run(make(resume=folder))
    stored = read_run(folder)
    assert len(stored.rows) == 4
    assert len(jobs(folder)) == 2


def test_a_run_folder_that_is_removed_ends_the_sweep_in_one_line(make: Make) -> None:
    sweep = make()

    class Remover(SweepProgress):
        def finished(self, row: object) -> None:
            shutil.rmtree(sweep.results)

    with Remover(io.StringIO()) as progress, pytest.raises(BadCall, match="cannot go on: No such file or directory"):
        run_sweep(sweep, progress)


def test_a_full_disk_keeps_the_rows_before_it(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    append = RowWriter.append
    rows: list[Row] = []

    def full(self: RowWriter, row: Row) -> None:
        if len(rows) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rows.append(row)
        append(self, row)

    sweep = make()
    monkeypatch.setattr(RowWriter, "append", full)
    with pytest.raises(BadCall, match=r"cannot go on: No space left on device \(.*results.*\)"):
        run(sweep)
    monkeypatch.undo()
    (folder,) = sweep.results.iterdir()
    assert len(read_run(folder).rows) == 2
    run(make(resume=folder))
    assert len(read_run(folder).rows) == 4


def test_a_machine_that_cannot_be_probed_is_refused_and_leaves_nothing(make: Make) -> None:
    sweep = replace(make(), worker=(sys.executable, "-c", "import sys; sys.exit('no such machine')"))
    with pytest.raises(BadCall, match="device host cannot be used: exit status 1 without an answer; no such machine"):
        run(sweep)
    assert not sweep.results.exists()


def test_progress_elsewhere_than_on_a_terminal_is_one_plain_line_a_row(make: Make) -> None:
    text = io.StringIO()
    with SweepProgress(text) as progress:
        run_sweep(make("prompt=4:die"), progress)
    lines = [line for line in text.getvalue().splitlines() if line.startswith("[")]
    assert [line[:6] for line in lines] == ["[1/4] ", "[2/4] ", "[3/4] ", "[4/4] "]
    assert sum("crashed" in line for line in lines) == 2
    assert all("qwen3-tiny Q8_0, " in line for line in lines)


def test_targets_stand_in_the_plan_with_the_rows_they_are_for(make: Make) -> None:
    target = """[[target]]\nname = "t"\nwhere = "prompt == 5"\nfigure = "decode_tps"\nmust = 3\n"""
    folder = run(make(matrix=MATRIX + target))
    stored = read_run(folder)
    wanted = tuple(row.id for row in stored.rows if row.shape.prompt == 5)
    assert [(one.name, one.rows) for one in stored.plan.targets] == [("t", wanted)]
    shutil.rmtree(folder)
    assert read_run(run(make(matrix=MATRIX + target, where="prompt == 4"))).plan.targets == ()
