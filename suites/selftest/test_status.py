"""The status "not applicable" is counted apart from passes and skips; asking for a device that is not here fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from engine.devices import why_unavailable
from suites.status import not_applicable

TESTS = """
import pytest
from suites.status import not_applicable

def test_passes(): pass
@pytest.mark.parametrize("n", [1, 2])
def test_has_no_meaning_here(n): not_applicable("no such edge")
@pytest.fixture
def nothing(): not_applicable("no such fixture")
def test_fixture(nothing): pass
@pytest.mark.skip(reason="for a while")
def test_skipped(): pass
"""


def _pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "suites.conftest", "--rootdir", str(folder), "-ra", str(folder)]
    return subprocess.run([*command, *options], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_counted_apart(tmp_path: Path, workers: str) -> None:
    done = _pytest(tmp_path, "-n", workers, "--junitxml=j.xml")
    assert done.returncode == 0, done.stdout
    summary = done.stdout.splitlines()[-1]
    for part in ("1 passed", "1 skipped", "3 not applicable"):
        assert part in summary
    assert "2 x no such edge" in done.stdout
    assert "1 x no such fixture" in done.stdout
    assert 'message="not applicable: no such edge"' in (tmp_path / "j.xml").read_text()


def test_a_skipped_test_is_no_pass(tmp_path: Path) -> None:
    """As `zeroulp parity` counts them."""
    lines = tmp_path / "lines"
    _pytest(tmp_path, "-n", "0", "-p", "harness.cli.parity_plugin", "--parity-lines", str(lines))
    states = Counter(json.loads(line)["state"] for line in lines.read_text().splitlines())
    assert states == {"passed": 1, "skipped": 1, "not applicable": 3}


def test_device_that_is_not_here_is_an_error(tmp_path: Path) -> None:
    reason = why_unavailable("cuda")
    if reason is None:
        not_applicable("there is a GPU here")
    done = _pytest(tmp_path, "--device", "cuda")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert f"--device cuda: {reason}" in done.stderr
