"""pytest suites/performance, as users of pytest-benchmark call it; a time of the host device is never a speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import suites
from harness.imports import read_file

ROOT = Path(suites.__file__).parent.parent
KERNELS, STORE = "suites/performance/test_kernels.py", "suites/performance/test_store.py"


def called(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """With the project's settings, whose -n must not stand in the way, and as if no pytest were around it."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"), *arguments]
    command.append(f"--benchmark-storage=file://{tmp_path}/saved")
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=around)


@pytest.fixture
def few_rows(tmp_path: Path) -> Path:
    """The benchmarks of the store over a hundred rows: their ways, not their rates, are under test."""
    path = ROOT / "suites" / "performance" / "test_store.py"
    text = path.read_text()
    assert "MANY, FEW = 100_000, 100" in text
    copy = tmp_path / "test_store_of_few.py"
    copy.write_text(text.replace("100_000, 100", "100, 100"))
    return copy


def test_enabled_they_are_timed_saved_compared_and_imported(tmp_path: Path, few_rows: Path) -> None:
    out = tmp_path / "bench.json"
    enabled = (str(few_rows), "-n", "0", "--benchmark-enable")
    first = called(tmp_path, *enabled, "--benchmark-save=a", f"--benchmark-json={out}")
    assert first.returncode == 0, first.stdout + first.stderr
    found = {item["name"]: item for item in json.loads(out.read_bytes())["benchmarks"]}
    assert set(found) == {"test_append", "test_load", "test_index", "test_export"}
    for item in found.values():
        assert item["extra_info"]["rows_per_s"] == pytest.approx(100 / item["stats"]["median"])
    assert {record.unit for record in read_file(out)} == {"s"}
    second = called(tmp_path, *enabled, "--benchmark-compare", "--benchmark-compare-fail=median:100000%")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "test_append (0001_a" in second.stdout


def test_an_emulated_time_is_not_a_speed(tmp_path: Path) -> None:
    out = tmp_path / "bench.json"
    done = called(tmp_path, KERNELS, "--device", "host", "--benchmark-enable", f"--benchmark-json={out}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 x device host: an emulated time is not a speed" in done.stdout
    assert "workers" not in done.stdout  # beside others nothing can be measured
    assert "passed" not in done.stdout.splitlines()[-1]
    assert not out.exists() or out.read_bytes() == b""


def test_without_being_enabled_every_benchmark_still_runs(tmp_path: Path) -> None:
    done = called(tmp_path, KERNELS, STORE, "--device", "host", "-n", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 passed" in done.stdout.splitlines()[-1]
