"""A tree against itself without the fault that costs time, by a gate on a real GPU: the check of suites/selftest."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.device import Device
from harness.cli.main import zeroulp
from harness.gate.schema import read_gate
from suites.harness.test_gate_arms import git
from suites.selftest.faults_speed import SPEED_FAULTS
from suites.selftest.planting import scratch_copy
from suites.status import not_applicable

MATRIX = """\
schema = 1
timeout = 600
[[group]]
models = ["qwen3-0.6b"]
quants = ["Q8_0"]
devices = ["cuda"]
shapes = [{ prompt = 128, generated = 128, context = 512 }]
"""


def two_commits(folder: Path) -> Path:
    """Tagged base, without the faults of SPEED_FAULTS, and head, the tree as it is: alike where none is planted."""
    scratch_copy(folder)
    (folder / "matrix.toml").write_text(MATRIX)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "head")
    git(folder, "tag", "head")
    for fault in (fault for fault in SPEED_FAULTS if fault.planted(folder)):
        fault.remove(folder)
    git(folder, "commit", "--quiet", "--all", "--allow-empty", "-m", "base")
    git(folder, "tag", "base")
    return folder


def test_a_tree_is_as_fast_as_without_its_fault(
    device: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device.name != "cuda":
        not_applicable("the host device has no speed")
    monkeypatch.chdir(two_commits(tmp_path / "repository"))
    out = tmp_path / "gate"
    zeroulp(["gate", "base", "head", "--matrix", "matrix.toml", "--device", "cuda", "--out", str(out)])
    rows = read_gate(out / "gate.json").rows
    assert [row.metric for row in rows if row.ratio is not None] == ["decode", "prefill"]
    assert [f"{row.metric} {row.ratio}" for row in rows if row.verdict == "slower"] == []


def test_a_fault_is_taken_out_of_base_alone(tmp_path: Path) -> None:
    (fault,) = SPEED_FAULTS
    plain = two_commits(tmp_path / "plain")
    assert git(plain, "diff", "base", "head") == ""
    planted = scratch_copy(tmp_path / "planted")
    fault.plant(planted)
    assert fault.planted(planted)
    assert not fault.planted(plain)
    fault.remove(planted)
    assert (planted / fault.file).read_bytes() == (plain / fault.file).read_bytes()
