"""scripts/planted_gate.py believes the gate that it ran, not what an earlier one left in the folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from harness.gate.schema import PLAN_FILE
from harness.store import write_record
from suites.harness.gate_fakes import Machine, gate, plan
from suites.status import not_applicable

SCRIPT = Path(__file__).parents[2] / "scripts" / "planted_gate.py"


@pytest.fixture
def planted_gate() -> ModuleType:
    if not SCRIPT.exists():
        not_applicable("the scripts are a part of the checkout, not of the package")
    spec = spec_from_file_location("planted_gate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (2, 2), (130, 130)])
def test_a_gate_that_ended_badly_is_not_what_an_earlier_one_left(
    planted_gate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, ends: int
) -> None:
    result = gate(tmp_path / "fake", Machine(), plan(24))
    assert result.exit_code == 0
    folder = tmp_path / "asked"
    (folder / "gate").mkdir(parents=True)
    (folder / "gate" / PLAN_FILE).write_text("{}")
    write_record(folder / "gate" / "gate.json", result)
    asked: list[Sequence[str]] = []

    def ended(words: Sequence[str]) -> int:
        asked.append(words)
        return code

    monkeypatch.setattr(planted_gate, "zeroulp", ended)
    monkeypatch.setattr(sys, "argv", ["planted_gate.py", "same", str(folder), "--matrix", "m.toml"])
    assert planted_gate.main() == ends
    assert asked == [["gate", "--resume", str(folder / "gate")]]
    assert (folder / "found.json").exists() is (code == 0)
