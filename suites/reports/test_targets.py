"""Targets in the report, on the command line and in its JSON: figures of proven rows, met or missed by how much."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.schema import Row, Spread, Target
from harness.store import PLAN, read_plan, read_run, write_record
from reports.run_report import write_report
from reports.targets import held, lines
from suites.reports.stored_runs import bad, differing, ok, planned, write_run

ROWS = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",), device="cuda")
SPEED = 9_000.0


def timed(plan_index: int, **changes: Any) -> Row:
    metrics = ok(ROWS[plan_index]).metrics
    assert metrics is not None
    spread = Spread(median=SPEED, min=SPEED - 9, max=SPEED + 9, samples=(SPEED,))
    return ok(ROWS[plan_index], metrics=msgspec.structs.replace(metrics, decode_tps=spread), **changes)


def stored(folder: Path, rows: list[Row], *targets: Target) -> Path:
    write_run(folder, rows, plan=ROWS[:2])
    plan = msgspec.structs.replace(read_plan(folder), targets=targets)
    write_record(folder / PLAN, plan)
    return folder


def target(must: float, aim: float | None = None, *, row: int = 0, name: str = "decode") -> Target:
    return Target(name=name, where="x", figure="decode_tps", must=must, aim=aim, rows=(ROWS[row].id,))


@pytest.mark.parametrize(
    ("must", "aim", "words"),
    [
        (10_000.0, None, "✗ missed by 10.0 %"),
        (10_000.0, 20_000.0, "✗ missed by 10.0 %"),
        (8_000.0, None, "✓ met, 12.5 % better"),
        (8_000.0, 10_000.0, "✓ met, 12.5 % better; 10.0 % short of the aim"),
        (4_000.0, 6_000.0, "✓ aim met, 50.0 % better"),
    ],
)
def test_met_or_missed_by_how_much(tmp_path: Path, must: float, aim: float | None, words: str) -> None:
    run = read_run(stored(tmp_path / "run", [timed(0), timed(1)], target(must, aim)))
    (found,) = held(run)
    assert found.words == words
    assert found.cells()[:3] == ("decode", "9,000 tokens/s", "8,991, 9,009")


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([], "the row is missing"),
        ([timed(0, proof=())], "the row is unproven (nothing was compared before and after the timed loop)"),
        ([timed(0, proof=(differing("graph = direct", "before"),))], "the row is different"),
        ([bad(ROWS[0], "hung", "no answer after 2 s")], "the row is hung (no answer after 2 s)"),
        ([timed(0, status="throttled", reason="hot")], "the row is throttled (hot)"),
    ],
)
def test_only_proven_rows_count(tmp_path: Path, made: list[Row], why: str) -> None:
    (found,) = held(read_run(stored(tmp_path / "run", made, target(1.0))))
    assert found.words.startswith(f"? not measured: {why}")
    assert found.facts()["value"] is None


def test_a_target_is_not_met_by_a_median_that_is_not_that_of_its_samples(tmp_path: Path) -> None:
    row = timed(0)
    assert row.metrics is not None
    spread = Spread(median=SPEED, min=1.0, max=SPEED, samples=(1.0, 2.0, SPEED))
    odd = msgspec.structs.replace(row, metrics=msgspec.structs.replace(row.metrics, decode_tps=spread))
    (found,) = held(read_run(stored(tmp_path / "run", [odd], target(1.0))))
    assert found.words == "? not measured: 9,000 tokens/s is not the median of its 3 samples"


def test_what_is_said_of_a_proven_row_is_said_of_its_figure(tmp_path: Path) -> None:
    row = timed(0, reason="decode: the warm-up of 2.0 s did not become flat within 0.5 %")
    (found,) = held(read_run(stored(tmp_path / "run", [row], target(8_000.0))))
    assert found.words == f"✓ met, 12.5 % better; {row.reason}"
    assert found.facts()["reason"] == row.reason


def test_report_and_command_show_them_and_the_exit_code_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = stored(tmp_path / "run", [timed(0), timed(1)], target(10_000.0), target(8_000.0, name="another"))
    assert write_report(folder).exit_code == 0
    page = (folder / "report.md").read_text()
    assert "Targets" in page
    assert "missed by 10.0 %" in page
    assert "1 of 2 targets met" in page
    assert "missed by 10.0 %" in (folder / "report.html").read_text()
    assert zeroulp(["report", str(folder)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert next(line for line in said if line.startswith("another")).endswith("✓ met, 12.5 % better")
    assert "1 of 2 targets met; a missed target does not change the exit code" in said


@pytest.mark.parametrize(("must", "aim"), [(0.0, None), (-1.0, None), (1.0, 0.0)])
def test_a_stored_target_of_nothing_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], must: float, aim: float | None
) -> None:
    folder = stored(tmp_path / "run", [timed(0), timed(1)], target(must, aim))
    assert zeroulp(["report", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"zeroulp: {folder / PLAN}: not a plan that can be read (Expected `float` > 0.0 - at ")
    assert said.count("\n") == 1


def test_json_has_every_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stored(tmp_path / "run", [timed(0), timed(1)], target(10_000.0, 12_000.0))
    assert zeroulp(["report", str(folder), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["targets"]
    assert (found["name"], found["state"], found["value"], found["unit"]) == ("decode", "missed", SPEED, "tokens/s")
    assert (found["must"], found["aim"], found["row"]) == (10_000.0, 12_000.0, ROWS[0].id)


def test_without_targets_nothing_is_said(tmp_path: Path) -> None:
    folder = stored(tmp_path / "run", [timed(0), timed(1)])
    write_report(folder)
    assert "Targets" not in (folder / "report.md").read_text()
    assert lines(held(read_run(folder))) == []
