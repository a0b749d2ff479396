"""Every planted fault is caught by a named assertion, and the same command passes unplanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.faults import FAULTS
from suites.selftest.planting import Fault, run_checks, scratch_copy


def _device(config: pytest.Config) -> str:
    asked = str(config.getoption("--device"))
    return "cuda" if asked == "cuda" else "host"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_planted_fault_is_caught(fault: Fault, tmp_path: Path, pytestconfig: pytest.Config, record_property) -> None:  # type: ignore[no-untyped-def]
    tree = scratch_copy(tmp_path)
    fault.plant(tree)
    verdict = run_checks(tree, fault.checks, device=_device(pytestconfig))
    record_property("fault", fault.name)
    record_property("caught_by", verdict.by)
    assert verdict.outcome == "caught", f"{fault.name}: {verdict.outcome}: {verdict.by} {verdict.message}"


def test_the_same_checks_pass_unplanted(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    checks = tuple(sorted({check for fault in FAULTS for check in fault.checks}))
    verdict = run_checks(scratch_copy(tmp_path), checks, device=_device(pytestconfig), timeout=600)
    assert verdict.outcome == "missed", f"without a fault: {verdict.outcome}: {verdict.by} {verdict.message}"


def test_every_kernel_and_launcher_has_a_fault() -> None:
    folder = Path(__file__).parents[2] / "engine"
    sources = {f"engine/kernels/{path.name}" for path in (folder / "kernels").glob("*.cu")} - {"engine/kernels/ceilings.cu", "engine/kernels/conformance.cu"}
    launchers = {f"engine/ops/{path.name}" for path in (folder / "ops").glob("*.py")} - {"engine/ops/__init__.py", "engine/ops/checks.py"}
    assert (sources | launchers) - {fault.file for fault in FAULTS} == set()


def test_names_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 25
