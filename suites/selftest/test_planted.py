"""Every planted fault is caught by a named assertion, and the same checks pass unplanted."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.faults import FAULTS
from suites.selftest.planting import ROOT, Fault, all_checks, faults_on, run_checks, scratch_copy, try_fault

NO_OP = {"engine/kernels/ceilings.cu", "engine/ops/__init__.py", "engine/ops/checks.py"}


@pytest.fixture
def where(pytestconfig: pytest.Config) -> str:
    """The device that the checks run on."""
    return "cuda" if pytestconfig.getoption("--device") == "cuda" else "host"


def test_the_checks_pass_unplanted(where: str, tmp_path: Path) -> None:
    """Each once: a check that fails anyway would catch everything."""
    verdict = run_checks(scratch_copy(tmp_path), all_checks(faults_on(FAULTS, where)), device=where, timeout=600)
    assert verdict.outcome == "missed", f"without a fault: {verdict.outcome}: {verdict.by} {verdict.message}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_planted_fault_is_caught(fault: Fault, where: str, tmp_path: Path) -> None:
    if fault not in faults_on((fault,), where):
        pytest.skip("a fault for the host alone, and --device is cuda")
    verdict = try_fault(fault, tmp_path, device=where)
    assert verdict.outcome == "caught", f"{fault.name}: {verdict.outcome}: {verdict.by} {verdict.message}"


def test_every_kernel_and_launcher_has_a_fault() -> None:
    sources = [*(ROOT / "engine/kernels").glob("*.cu"), *(ROOT / "engine/ops").glob("*.py")]
    names = {str(path.relative_to(ROOT)) for path in sources}
    assert names - NO_OP - {fault.file for fault in FAULTS} == set()


def test_names_are_unique_and_there_are_many() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 45


_COUNT = 'args = (token, position, tokens_out, count, next_token, int32("advance", "capacity", capacity))'


@pytest.mark.parametrize(
    ("new", "check", "outcome"),
    [
        (f"{_COUNT}  # the same", "test_one_step[{device}-3-None]", "missed"),
        (f'raise KeyError("position")\n    {_COUNT}', "test_one_step[{device}-3-None]", "crashed"),
        (_COUNT.replace("int32(", "int64("), "test_one_step[{device}-3-None]", "crashed"),
        (f"{_COUNT}  # the same", "test_of_nothing", "broken"),
    ],
)
def test_only_an_assertion_is_a_catch(new: str, check: str, outcome: str, where: str, tmp_path: Path) -> None:
    """A fault that does nothing is missed, one that ends a run is a crash, a check that is not there shows nothing."""
    file, test = "engine/ops/advance.py", f"suites/kernels/test_advance.py::{check}"
    verdict = try_fault(Fault(name="x", file=file, old=_COUNT, new=new, checks=(test,)), tmp_path, device=where)
    assert verdict.outcome == outcome


def test_a_fault_that_is_not_there_cannot_be_planted(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old, times in (("x = 1", 2), ("y", 0)):
        with pytest.raises(ValueError, match=f"occurs {times} times in a.py, expected once"):
            Fault(name="x", file="a.py", old=old, new="z", checks=()).plant(tmp_path)
