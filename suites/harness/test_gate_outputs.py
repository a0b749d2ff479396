"""JUnit XML and annotations: what other programs read, whatever stands in a name or a reason."""

from __future__ import annotations

import xml.etree.ElementTree as xml
from pathlib import Path

import msgspec
import pytest

from harness.errors import BadCall
from harness.gate.outputs import MOST_ANNOTATIONS, forge_lines, junit
from harness.gate.schema import GateResult, encode, read_gate
from suites.harness.gate_fakes import Machine, gate, plan, scaled
from suites.harness.test_gate import on_head, wrong


@pytest.fixture
def failed(tmp_path: Path) -> GateResult:
    return gate(tmp_path, Machine(spoil=on_head(wrong)), plan(24, 260))


def test_a_result_reads_back_as_it_was(failed: GateResult, tmp_path: Path) -> None:
    path = tmp_path / "gate.json"
    path.write_bytes(encode(failed))
    assert read_gate(path) == failed
    path.write_bytes(b"{}")
    with pytest.raises(BadCall, match=r"gate\.json: not a gate\.json"):
        read_gate(path)


def test_junit_has_a_test_for_each_verdict_and_counts_them(failed: GateResult) -> None:
    suite = xml.fromstring(junit(failed)).find("testsuite")
    assert suite is not None
    cases = suite.findall("testcase")
    assert len(cases) == len(failed.rows) == int(suite.attrib["tests"])
    bad = [case for case in cases if case.find("failure") is not None]
    assert len(bad) == int(suite.attrib["failures"]) == 1
    assert bad[0].attrib["name"].endswith("[parity]")
    failure = bad[0].find("failure")
    assert failure is not None
    assert "graph = direct" in failure.attrib["message"]


def test_missing_is_an_error_and_cannot_tell_is_skipped(tmp_path: Path) -> None:
    gone = gate(tmp_path / "a", Machine(spoil=on_head(lambda measured: None)), plan(24))
    suite = xml.fromstring(junit(gone)).find("testsuite")
    assert suite is not None
    assert (suite.attrib["errors"], len(suite.findall("testcase/error"))) == ("1", 1)
    hot = on_head(lambda measured: msgspec.structs.replace(measured, status="throttled"))
    unsure = gate(tmp_path / "b", Machine(spoil=hot), plan(24))
    suite = xml.fromstring(junit(unsure)).find("testsuite")
    assert suite is not None
    assert (suite.attrib["skipped"], len(suite.findall("testcase/skipped"))) == ("2", 2)


EVIL = 'a\x00b\x1b[31m <&"]]>\n::error::forged\r%0A \ud7ff'


def test_foreign_text_breaks_neither(failed: GateResult) -> None:
    rows = tuple(msgspec.structs.replace(row, label=EVIL, reason=EVIL, model=EVIL) for row in failed.rows)
    evil = msgspec.structs.replace(failed, rows=rows)
    xml.fromstring(junit(evil))
    lines = forge_lines(evil)
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert "\r" not in lines[0]
    assert lines[0].startswith("::error title=wrong%3A parity::")
    assert "%0A::error::forged%0D%250A" in lines[0]


def test_annotations_are_few_and_the_last_one_counts_the_rest(failed: GateResult) -> None:
    bad = next(row for row in failed.rows if row.verdict == "wrong")
    many = msgspec.structs.replace(failed, rows=(bad,) * (MOST_ANNOTATIONS + 5))
    lines = forge_lines(many)
    assert len(lines) == MOST_ANNOTATIONS
    assert "6 more rows fail" in lines[-1]
    assert len(forge_lines(msgspec.structs.replace(failed, rows=(bad,) * MOST_ANNOTATIONS))) == MOST_ANNOTATIONS


def test_a_pass_has_none_and_cannot_tell_is_a_warning(tmp_path: Path) -> None:
    assert forge_lines(gate(tmp_path / "a", Machine(), plan(24))) == []
    hot = on_head(lambda measured: msgspec.structs.replace(measured, status="throttled"))
    [line] = forge_lines(gate(tmp_path / "b", Machine(spoil=hot), plan(24)))
    assert line.startswith("::warning title=zeroulp gate::CANNOT TELL")


def test_a_slowdown_is_told_with_its_interval(tmp_path: Path) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(lambda measured: scaled(measured, 1.05))), plan(24))
    [line] = forge_lines(result)
    assert "time (+" in line
    assert "4 pairs; confirmed on the same GPU" in line
