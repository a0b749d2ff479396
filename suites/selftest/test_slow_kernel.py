"""A tree against itself without the fault that costs time, by a gate on a real GPU: the check of suites/selftest."""

from __future__ import annotations

import zipfile
from pathlib import Path

from engine.device import Device
from harness.cli.main import zeroulp
from harness.gate.schema import read_gate
from suites.selftest.faults_speed import SPEED_FAULTS
from suites.selftest.planting import scratch_copy
from suites.selftest.wheels import write_wheel
from suites.status import not_applicable

MATRIX = """\
schema = 1
timeout = 600
[[group]]
models = ["qwen3-0.6b"]
quants = ["Q8_0"]
devices = ["cuda"]
shapes = [{ prompt = 2048, generated = 128, context = 4096 }]
"""


def contents(wheel: Path) -> dict[str, bytes]:
    """Its files by name, but for the list of them."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}


def two_wheels(folder: Path) -> tuple[Path, Path]:
    """Base, without the faults of SPEED_FAULTS, and head, the tree as it is: alike where none is planted."""
    tree = scratch_copy(folder / "tree")
    head = write_wheel(tree, folder / "head")
    for fault in (fault for fault in SPEED_FAULTS if fault.planted(tree)):
        fault.remove(tree)
    return write_wheel(tree, folder / "base"), head


def test_a_tree_is_as_fast_as_without_its_fault(device: Device, tmp_path: Path) -> None:
    if device.name != "cuda":
        not_applicable("the host device has no speed")
    base, head = two_wheels(tmp_path)
    (tmp_path / "matrix.toml").write_text(MATRIX)
    out = tmp_path / "gate"
    options = ["--matrix", str(tmp_path / "matrix.toml"), "--device", "cuda", "--environments", "shared"]
    zeroulp(["gate", str(base), str(head), *options, "--out", str(out)])
    rows = read_gate(out / "gate.json").rows
    assert [row.metric for row in rows if row.ratio is not None] == ["decode", "prefill"]
    assert [f"{row.metric} {row.ratio}" for row in rows if row.verdict == "slower"] == []


def test_a_fault_is_taken_out_of_base_alone(tmp_path: Path) -> None:
    (fault,) = SPEED_FAULTS
    base, head = two_wheels(tmp_path / "plain")
    assert contents(base) == contents(head)
    planted = scratch_copy(tmp_path / "planted")
    fault.plant(planted)
    assert fault.planted(planted)
    wrong = contents(write_wheel(planted, tmp_path / "wrong"))
    assert [name for name, content in contents(base).items() if wrong[name] != content] == [fault.file]
    fault.remove(planted)
    assert (planted / fault.file).read_bytes() == contents(base)[fault.file]
