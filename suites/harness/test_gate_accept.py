"""Intended changes: accepted as far as their entry goes, aloud when it is old or idle, and never for a wrong bit."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from harness.errors import BadCall
from harness.gate.accept import Accepted, read_accepted
from harness.schema import Measurement
from harness.schema import Path as Engagement
from suites.harness.gate_fakes import TODAY, Act, Machine, gate, one, plan, scaled
from suites.harness.test_gate import on_head, wrong

ENTRY = """\
schema = 1
[[accept]]
where = 'prompt == 24 and graph == "on"'
metric = "decode"
most = 0.06
reason = "the new order of sums"
expires = 2026-01-02
"""
COUNTS = ENTRY.replace('"decode"', '"counts"').replace("0.06", "1")


def accepted(folder: Path, text: str = ENTRY, today: date = TODAY) -> Accepted:
    path = folder / "gate-accept.toml"
    path.write_text(text)
    return read_accepted(path, today)


def test_a_slowdown_within_an_entry_is_accepted(tmp_path: Path) -> None:
    slow = Machine(spoil=on_head(lambda measured: scaled(measured, 1.05)))
    result = gate(tmp_path, slow, plan(24), accepted=accepted(tmp_path))
    row = one(result, 24, "decode")
    assert row.verdict == "accepted"
    assert "the new order of sums" in row.reason
    assert "2026-01-02" in row.reason
    assert result.exit_code == 0
    assert result.notes == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (ENTRY.replace("0.06", "0.04"), "was not needed"),
        (ENTRY.replace("decode", "prefill"), "was not needed"),
        (ENTRY.replace("prompt == 24", "prompt == 260"), "was not needed"),
        (ENTRY.replace("2026-01-02", "2026-01-01"), "expired on 2026-01-01 and accepts nothing"),
    ],
)
def test_an_entry_that_does_not_reach_accepts_nothing_and_is_named(tmp_path: Path, text: str, note: str) -> None:
    slow = Machine(spoil=on_head(lambda measured: scaled(measured, 1.05)))
    result = gate(tmp_path, slow, plan(24), accepted=accepted(tmp_path, text))
    assert one(result, 24, "decode").verdict == "slower"
    assert result.exit_code == 1
    assert [note in said for said in result.notes] == [True]
    assert result.notes[0].startswith("gate-accept.toml entry 1 ")


def test_an_entry_never_hides_a_parity_failure(tmp_path: Path) -> None:
    text = ENTRY + COUNTS.removeprefix("schema = 1\n")
    result = gate(tmp_path, Machine(spoil=on_head(wrong)), plan(24), accepted=accepted(tmp_path, text))
    assert result.exit_code == 1
    with pytest.raises(BadCall, match="metric: 'parity' is not one of decode, prefill, counts"):
        accepted(tmp_path, ENTRY.replace("decode", "parity"))


def test_a_launch_more_is_accepted_and_two_are_not(tmp_path: Path) -> None:
    def more(launches: float) -> Machine:
        return Machine(
            spoil=on_head(lambda measured: msgspec.structs.replace(measured, graph_kernels_per_token=40 + launches))
        )

    result = gate(tmp_path / "a", more(1), plan(24), accepted=accepted(tmp_path, COUNTS))
    assert one(result, 24, "counts").verdict == "accepted"
    assert result.exit_code == 0
    assert gate(tmp_path / "b", more(2), plan(24), accepted=accepted(tmp_path, COUNTS)).exit_code == 1


def test_a_lost_path_is_accepted_by_its_name_alone(tmp_path: Path) -> None:
    def fallen(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if act.side == "base":
            return measured
        return msgspec.structs.replace(measured, engaged={"graph": Engagement(asked="on", engaged=False)})

    machine = Machine(spoil=fallen)
    named = COUNTS.replace("reason", 'paths = ["graph"]\nreason')
    assert gate(tmp_path / "a", machine, plan(24), accepted=accepted(tmp_path, named)).exit_code == 0
    assert gate(tmp_path / "b", machine, plan(24), accepted=accepted(tmp_path, COUNTS)).exit_code == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "expected schema = 1"),
        ("schema = 1", "schema = 1\nmore = 1", "nothing else"),
        ("most", "more", "more: unknown"),
        ("0.06", '"a lot"', "most: 'a lot' is not a number"),
        ("0.06", "-0.1", "most: -0.1"),
        ("0.06", "nan", "most: nan"),
        ("0.06", "inf", "most: inf"),
        ("2026-01-02", '"soon"', "expires: 'soon' is not a date"),
        ("2026-01-02", "2026-01-02T00:00:00", "is not a date"),
        ("the new order of sums", " ", "reason"),
        ("prompt == 24", "color == 24", "gate-accept.toml entry 1: where: 'color == 24"),
        ("prompt == 24", "color == 24", "unknown field 'color'"),
        ("prompt == 24", "prompt ==", "gate-accept.toml entry 1: where: 'prompt =="),
        ("""'prompt == 24 and graph == "on"'""", '" "', "gate-accept.toml entry 1: where and reason: expected texts"),
        ("reason", 'paths = ["graph"]\nreason', "paths"),
        ("[[accept]]", "[[accept]", "gate-accept.toml"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(BadCall) as error:
        accepted(tmp_path, ENTRY.replace(old, new))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
