"""An interrupted gate loses the process in flight and no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.gate.accept import Accepted
from harness.gate.again import judge_again, kept_gate
from harness.gate.arms import Side, Source, resolve
from harness.gate.plan import write_plan
from harness.gate.run import Settings
from harness.gate.schema import GateResult, encode
from harness.schema import Measurement
from harness.statistics import Policy
from reports.pr import markdown
from suites.harness.gate_fakes import TODAY, Act, Machine, gate, plan, scaled
from suites.harness.gate_fakes import __file__ as fakes


def verdicts(result: GateResult) -> list[tuple[str, str, str, float | None]]:
    return [(row.key, row.metric, row.verdict, row.ratio) for row in result.rows]


def test_a_gate_that_is_called_again_runs_what_it_lacks_and_says_the_same(tmp_path: Path) -> None:
    whole = gate(tmp_path / "whole", Machine(), plan(24))

    def interrupted(act: Act) -> str:
        if act.pair == 2:
            raise KeyboardInterrupt
        return ""

    with pytest.raises(KeyboardInterrupt):
        gate(tmp_path / "cut", Machine(dies=interrupted), plan(24))
    machine = Machine()
    again = gate(tmp_path / "cut", machine, plan(24))
    assert [act.pair for act in machine.acts] == [2, 2, 3, 3]
    assert verdicts(again) == verdicts(whole)
    assert (again.pairs_spent, again.head) == (whole.pairs_spent, whole.head)
    idle = Machine()
    assert verdicts(gate(tmp_path / "cut", idle, plan(24))) == verdicts(whole)
    assert idle.acts == []


def test_a_process_that_died_is_run_again_and_that_is_said(tmp_path: Path) -> None:
    def dies(act: Act) -> str:
        return "killed by SIGSEGV" if (act.side, act.pair) == ("head", 1) else ""

    first = gate(tmp_path, Machine(dies=dies), plan(24))
    assert (first.exit_code, first.notes) == (2, ())
    lines: list[str] = []
    second = gate(tmp_path, Machine(), plan(24), lines=lines)
    why = "the process of head died: killed by SIGSEGV"
    assert lines[0] == f"pairs-000-01-head runs again: {why}"
    note = f"1 process was run again, its first run did not stand: pairs-000-01-head ({why})"
    assert (second.exit_code, second.notes) == (0, (note,))
    assert f"note: {note}" in markdown(second)
    assert gate(tmp_path, Machine(), plan(24)).notes == (note,)  # nothing runs, and it stays said


def test_a_process_that_dies_each_time_says_so_each_time(tmp_path: Path) -> None:
    def dies(act: Act) -> str:
        return "gone" if (act.side, act.pair) == ("head", 1) else ""

    for _ in range(2):
        gate(tmp_path, Machine(dies=dies), plan(24))
    last = gate(tmp_path, Machine(), plan(24))
    twice = "; then ".join(["the process of head died: gone"] * 2)
    assert last.notes[0].endswith(f"pairs-000-01-head ({twice})")


def test_many_processes_that_ran_again_are_one_line(tmp_path: Path) -> None:
    gate(tmp_path, Machine(dies=lambda act: "gone"), plan(24))
    for file in (tmp_path / "processes").glob("*.ended"):
        for pair in (1, 2, 3):
            file.with_name(file.name.replace("-00-", f"-0{pair}-")).write_bytes(file.read_bytes())
    [note] = gate(tmp_path, Machine(), plan(24)).notes
    assert note.startswith("8 processes were run again, their first did not stand: pairs-000-00-base (")
    assert note.endswith(") and 5 more")
    assert note.count("gone") == 3


def test_what_is_kept_of_other_rows_or_another_build_is_measured_again(tmp_path: Path) -> None:
    gate(tmp_path, Machine(), plan(24))
    more = Machine()
    assert gate(tmp_path, more, plan(24, 260)).exit_code == 0
    assert len(more.acts) == 8
    kept = tmp_path / "processes" / "pairs-000-00-base.json"
    text = kept.read_bytes()
    kept.write_bytes(text.replace(b'"tree":"base-tree"', b'"tree":"other"'))
    machine = Machine()
    said: list[str] = []
    gate(tmp_path, machine, plan(24, 260), lines=said)
    assert [(act.side, act.pair) for act in machine.acts] == [("base", 0)]
    why = "what was kept of it cannot be read, or is of other rows or another build"
    assert said[0] == f"pairs-000-00-base runs again: {why}"


def test_a_kept_answer_that_names_another_build_is_measured_again(tmp_path: Path) -> None:
    gate(tmp_path, Machine(), plan(24))
    kept = tmp_path / "processes" / "pairs-000-02-head.json"
    text = kept.read_bytes()
    kept.write_bytes(text.replace(b'"git_commit":"head-commit"', b'"git_commit":"other"'))
    assert kept.read_bytes() != text
    machine = Machine()
    gate(tmp_path, machine, plan(24))
    assert [(act.side, act.pair) for act in machine.acts] == [("head", 2)]


@pytest.mark.parametrize("damage", [b"", b"{", b"[]"])
def test_a_damaged_file_is_measured_again(tmp_path: Path, damage: bytes) -> None:
    gate(tmp_path, Machine(), plan(24))
    (tmp_path / "processes" / "pairs-000-01-head.json").write_bytes(damage)
    machine = Machine()
    assert gate(tmp_path, machine, plan(24)).exit_code == 0
    assert [(act.side, act.pair) for act in machine.acts] == [("head", 1)]


SLOW_GATE = """\
import sys, time
from pathlib import Path
from suites.harness.gate_fakes import Machine, gate, plan
def slow(act):
    time.sleep(0.05)
    return ""
gate(Path(sys.argv[1]), Machine(dies=slow), plan(24))
"""


@pytest.mark.parametrize("wanted", [1, 2, 3, 5, 6])
def test_kill_9_loses_at_most_the_process_in_flight(tmp_path: Path, wanted: int) -> None:
    root = Path(fakes).parents[2]
    path = os.pathsep.join((str(root), os.environ.get("PYTHONPATH", "")))
    running = subprocess.Popen([sys.executable, "-c", SLOW_GATE, str(tmp_path)], env={**os.environ, "PYTHONPATH": path})
    processes = tmp_path / "processes"
    end = time.monotonic() + 60
    while len(list(processes.glob("*.json"))) < wanted and time.monotonic() < end:
        time.sleep(0.001)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = sorted(processes.glob("pairs-*.json"))
    assert wanted <= len(kept) < 8
    for file in kept:
        assert msgspec.json.decode(file.read_bytes())["answer"]["rows"]
    machine = Machine()
    assert gate(tmp_path, machine, plan(24)).exit_code == 0
    assert len(machine.acts) == 8 - len(kept)


def test_a_finished_gate_is_judged_again_by_other_rules(tmp_path: Path) -> None:
    folder = tmp_path / "gate"
    made = plan(24)
    slow = Machine(spoil=lambda act, measured, prompt: scaled(measured, 1.05) if act.side == "head" else measured)
    before = gate(folder, slow, made)
    assert before.exit_code == 1
    write_plan(folder, made)
    (folder / "gate.json").write_bytes(encode(before))
    sources: dict[Side, Source] = {"base": resolve("gate/base", tmp_path), "head": resolve("gate/head", tmp_path)}
    assert kept_gate(sources) == folder
    same = judge_again(
        folder, Settings(policy=Policy(), accepted=Accepted(today=TODAY)), "zeroulp gate", cache=tmp_path
    )
    assert verdicts(same) == verdicts(before)
    assert same.notes == ("judged again from the processes of gate",)
    lenient = Settings(policy=replace(Policy(), floor=0.1, pass_below=0.2), accepted=Accepted(today=TODAY))
    assert judge_again(folder, lenient, "zeroulp gate", cache=tmp_path).exit_code == 0
    strict = Settings(policy=replace(Policy(), looks=(20,)), accepted=Accepted(today=TODAY))
    assert (
        judge_again(folder, strict, "zeroulp gate", cache=tmp_path).exit_code == 2
    )  # pairs that were never measured are no pass
    assert list((folder / "processes").glob("*.ended")) == []  # a finished gate stays as it is


@pytest.mark.parametrize(("data", "said"), [(None, "is not here"), (b"another model by now", "is another file now")])
def test_a_gate_does_not_go_on_with_another_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: bytes | None,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_plan(tmp_path, msgspec.structs.replace(plan(24), base="base.whl", head="head.whl"))
    for side in ("base", "head"):
        (tmp_path / f"{side}.whl").touch()
    if data is not None:
        (tmp_path / "m.gguf").write_bytes(data)
    assert zeroulp(["gate", "--resume", "."]) == 2
    assert f"its model m.gguf {said}" in capsys.readouterr().err


@pytest.mark.parametrize(("factor", "verdict"), [(0.9, "faster"), (1.05, "slower")])
@pytest.mark.parametrize("changed", [False, True])
def test_times_that_the_engine_cannot_explain_stay_so_when_they_are_judged_again(
    tmp_path: Path, factor: float, verdict: str, changed: bool
) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, factor, "decode", "prefill") if act.side == "head" else measured

    folder, made = tmp_path / "gate", plan(24, 260, 300)
    before = gate(folder, Machine(spoil=spoil), made, engine_changed=changed)
    write_plan(folder, made)
    (folder / "gate.json").write_bytes(encode(before))
    again = judge_again(
        folder, Settings(policy=Policy(), accepted=Accepted(today=TODAY)), "zeroulp gate", cache=tmp_path
    )
    told = {row.verdict for row in again.rows if row.metric in ("decode", "prefill")}
    assert told == {verdict if changed else "cannot_tell"}
    assert again.exit_code == before.exit_code


@pytest.mark.parametrize(("base", "head"), [("a/head", "a/base"), ("a/base", "b/head"), ("a/base", "a/base")])
def test_sides_of_a_gate_belong_together(tmp_path: Path, base: str, head: str) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_plan(tmp_path / name, plan(24))
    with pytest.raises(BadCall, match="expected FOLDER/base and FOLDER/head of the same gate"):
        kept_gate({"base": resolve(base, tmp_path), "head": resolve(head, tmp_path)})
