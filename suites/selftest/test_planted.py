"""Planting a fault and reading what its checks said: only an assertion that fails by name is a catch."""

from __future__ import annotations

from pathlib import Path

import pytest

from suites.selftest.planting import Fault, faults_on, read_junit, try_fault


@pytest.fixture
def where(pytestconfig: pytest.Config) -> str:
    """The device that the checks run on."""
    return "cuda" if pytestconfig.getoption("--device") == "cuda" else "host"


_COUNT = 'args = (token, position, tokens_out, count, next_token, int32("advance", "capacity", capacity))'


@pytest.mark.parametrize(
    ("new", "check", "outcome"),
    [
        (f"{_COUNT}  # the same", "test_one_step[{device}-3-None]", "missed"),
        (f'raise KeyError("position")\n    {_COUNT}', "test_one_step[{device}-3-None]", "crashed"),
        (_COUNT.replace("token, position,", "token, count,"), "test_one_step[{device}-3-None]", "caught"),
        (f"{_COUNT}  # the same", "test_of_nothing", "broken"),
    ],
)
def test_only_an_assertion_is_a_catch(new: str, check: str, outcome: str, where: str, tmp_path: Path) -> None:
    """A fault that does nothing is missed, one that ends a run is a crash, a check that is not there shows nothing."""
    file, test = "engine/ops/advance.py", f"suites/kernels/test_advance.py::{check}"
    verdict = try_fault(Fault(name="x", file=file, old=_COUNT, new=new, checks=(test,)), tmp_path, device=where)
    assert verdict.outcome == outcome


@pytest.mark.parametrize(
    ("cases", "code", "outcome", "by"),
    [
        ("<testcase classname='a.b' name='t'/>", 0, "missed", ""),
        ("<testcase classname='a.b' name='t'><failure message='assert 1 == 2'/></testcase>", 1, "caught", "b::t"),
        ("<testcase classname='a.b' name='t'><failure message='AssertionError: x'/></testcase>", 1, "caught", "b::t"),
        ("<testcase classname='a.b' name='t'><failure message='KeyError: 3'/></testcase>", 1, "crashed", "b::t"),
        ("<testcase classname='a.b' name='t'><error message='assert 1 == 2'/></testcase>", 1, "crashed", "b::t"),
        ("<testcase classname='a.b' name='t'><skipped message='no GPU'/></testcase>", 0, "broken", ""),
        ("<testcase classname='a.b' name='t'/><testcase name='u'><skipped/></testcase>", 0, "broken", ""),
        ("<testcase classname='a.b' name='t'/>", 4, "broken", ""),
        ("", 5, "broken", ""),
    ],
)
def test_what_a_junit_file_says(cases: str, code: int, outcome: str, by: str, tmp_path: Path) -> None:
    junit = tmp_path / "junit.xml"
    junit.write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    found = read_junit(junit, code)
    assert (found.outcome, found.by) == (outcome, by)


def test_a_fault_that_is_not_there_cannot_be_planted(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\nx = 1\n")
    for old, times in (("x = 1", 2), ("y", 0)):
        with pytest.raises(ValueError, match=f"occurs {times} times in a.py, expected once"):
            Fault(name="x", file="a.py", old=old, new="z", checks=()).plant(tmp_path)


def test_a_fault_is_planted_where_it_can_be_seen() -> None:
    everywhere, host, cuda = (
        Fault(name=name, file="a.py", old="x", new="y", checks=(), host_only=name == "host", cuda_only=name == "cuda")
        for name in ("everywhere", "host", "cuda")
    )
    assert faults_on((everywhere, host, cuda), "host") == (everywhere, host)
    assert faults_on((everywhere, host, cuda), "cuda") == (everywhere, cuda)
