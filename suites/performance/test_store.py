"""What the store costs: rows a second of append (each on disk before the next), load, index and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.index import build_index
from harness.schema import PlannedRow, Row
from harness.store import ENVIRONMENT, PLAN, ROWS, RowWriter, read_run, write_record
from harness.table import run_cells, to_csv
from suites.harness.records import environment, plan, row

MANY, FEW = 100_000, 100  # rows, with and without --benchmark-enable

pytestmark = pytest.mark.benchmark(group="store")


def make(number: int) -> Row:
    """As long as the row of a sweep on a GPU: about 4 kB."""
    made = row(f"{number:016x}", device="cuda")
    return msgspec.structs.replace(made, proof=made.proof * 24)


@pytest.fixture(scope="module")
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return [make(number) for number in range(MANY if request.config.getoption("benchmark_enable") else FEW)]


@pytest.fixture(scope="module")
def run_folder(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    planned = (PlannedRow(id=r.id, model=r.model, shape=r.shape, toggles=r.toggles, device=r.device) for r in rows)
    write_record(folder / PLAN, msgspec.structs.replace(plan(), rows=tuple(planned)))
    write_record(folder / ENVIRONMENT, environment())
    (folder / ROWS).write_bytes(b"".join(msgspec.json.encode(made) + b"\n" for made in rows))
    return folder


def rate(benchmark: Any, rows: list[Row]) -> None:
    """Beside the seconds, what one asks for."""
    benchmark.extra_info["rows"] = len(rows)
    if benchmark.enabled:
        benchmark.extra_info["rows_per_s"] = len(rows) / benchmark.stats.stats.median


def test_append(benchmark: Any, rows: list[Row], tmp_path: Path) -> None:
    def append() -> None:
        writer = RowWriter(tmp_path)
        for made in rows:
            writer.append(made)
        writer.close()

    benchmark.pedantic(append, rounds=1)
    rate(benchmark, rows)
    assert (tmp_path / ROWS).read_bytes().count(b"\n") == len(rows)


def test_load(benchmark: Any, rows: list[Row], run_folder: Path) -> None:
    run = benchmark.pedantic(read_run, args=(run_folder,), rounds=3)
    rate(benchmark, rows)
    assert len(run.rows) == len(rows)


def test_index(benchmark: Any, rows: list[Row], run_folder: Path, tmp_path: Path) -> None:
    made = benchmark.pedantic(build_index, args=([run_folder], tmp_path / "index.sqlite"), rounds=3)
    rate(benchmark, rows)
    assert made.rows == len(rows)


def test_export(benchmark: Any, rows: list[Row], run_folder: Path) -> None:
    table = benchmark.pedantic(lambda: to_csv(run_cells(run_folder, [])), rounds=3)
    rate(benchmark, rows)
    assert table.count(b"\n") == len(rows) + 1
