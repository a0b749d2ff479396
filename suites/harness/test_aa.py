"""A against A: noise in the order of time, what one program must not show of itself, resume, command line."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

import msgspec
import pytest

from harness.aa import AaPlan, read_plan, run_aa, write_plan
from harness.aa_schema import AaResult
from harness.aa_session import noise_file
from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.gate.pairs import order
from harness.gate.processes import Bench, Outcome, Step
from harness.noise import noise_text, read_noise
from harness.rules import CAREFUL
from harness.schema import Measurement, ProcessAnswer
from harness.statistics import Policy
from suites.harness import gate_fakes
from suites.harness.gate_fakes import Act, Machine, builds, samples, scaled

MATRIX = """\
schema = 1
timeout = 120
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 4, generated = 2, context = 8 }]
"""


def plan(*prompts: int, processes: int = 8, timed: bool = True) -> AaPlan:
    gate = gate_fakes.plan(*prompts, device="cuda" if timed else "host")
    return AaPlan(
        started=gate.started,
        command="zeroulp aa",
        processes=processes,
        timed=timed,
        device=gate.device,
        gpu=gate.gpu,
        timeout=gate.timeout,
        models=gate.models,
        notes=(),
        environment=gate.environment,
    )


def run(folder: Path, machine: Machine, made: AaPlan) -> AaResult:
    bench = Bench(
        folder=folder,
        builds=builds(),
        cache=folder / "cache",
        rules=CAREFUL,
        timeout=made.timeout,
        environment=dict(os.environ),
        say=lambda line: None,
        runner=machine.run,
    )
    return run_aa(made, bench, Policy())


def test_every_row_gets_its_noise(tmp_path: Path) -> None:
    machine = Machine()
    result = run(tmp_path, machine, plan(10, 20, processes=16))
    assert result.exit_code == 0
    assert result.headline == "PASS: 2 rows x 16 processes, 0 false alarms in 1,024 labellings, no fault"
    assert [act.side for act in machine.acts[:8]] == [side for pair in range(4) for side in order(pair)]
    assert len(machine.acts) == 16
    assert [(row.metric, row.fit.processes) for row in result.rows] == [("decode", 16), ("prefill", 16)] * 2
    for row in result.rows:
        assert row.fit.low < gate_fakes.NOISE < row.fit.high
        assert row.median_us == pytest.approx(gate_fakes.US[row.metric], rel=0.01)
    assert [canary.name for canary in result.canaries] == ["copy", "matvec", "empty_graph"]


def test_a_process_that_died_and_was_run_again_is_said(tmp_path: Path) -> None:
    dead = run(tmp_path, Machine(dies=lambda act: "gone" if (act.side, act.pair) == ("head", 1) else ""), plan(10))
    assert (dead.exit_code, dead.notes) == (2, ())
    again = run(tmp_path, Machine(), plan(10))
    assert (again.exit_code, len(again.notes)) == (0, 1)
    assert again.notes[0].startswith("1 process was run again, its first run did not stand: pairs-000-01-head (")


def test_the_noise_of_a_run_is_written_and_read_back(tmp_path: Path) -> None:
    result = run(tmp_path, Machine(), plan(10))
    (tmp_path / "noise.toml").write_text(noise_text(noise_file(result)))
    found = read_noise(tmp_path / "noise.toml")
    assert found.row == result.rows
    assert found.gpu == result.gpu is not None


def test_a_drift_is_seen_as_one_because_processes_stand_in_the_order_of_time(tmp_path: Path) -> None:
    def drifting(act: Act, measured: Measurement, prompt: int) -> Measurement:
        place = 2 * act.pair + order(act.pair).index(act.side)
        return msgspec.structs.replace(measured, decode=samples(2500 * math.exp(0.001 * place)))

    (row,) = (row for row in run(tmp_path, Machine(spoil=drifting), plan(10)).rows if row.metric == "decode")
    assert row.fit.sd < 0.0012  # of a run that moved by 0.7 %; out of order neighbours differ by up to 3 steps
    assert row.fit.sd > 0.0006


def _bit(act: Act, measured: Measurement, prompt: int) -> Measurement:
    if (act.side, act.pair, prompt) != ("base", 2, 20):
        return measured
    (first, *rest) = measured.proof
    return msgspec.structs.replace(
        measured, proof=(msgspec.structs.replace(first, status="failed", differing=1), *rest)
    )


def _gone(act: Act, measured: Measurement, prompt: int) -> Measurement | None:
    return None if (act.side, act.pair, prompt) == ("head", 1, 20) else measured


def _launches(act: Act, measured: Measurement, prompt: int) -> Measurement:
    return msgspec.structs.replace(measured, launches_per_token=2.0) if act.pair == 3 else measured


def _untimed(act: Act, measured: Measurement, prompt: int) -> Measurement:
    return msgspec.structs.replace(measured, prefill=None, decode=None)


def _no_time(act: Act, measured: Measurement, prompt: int) -> Measurement:
    return msgspec.structs.replace(measured, decode=samples(0.0)) if act.pair == 0 else measured


def _hot(act: Act, measured: Measurement, prompt: int) -> Measurement:
    last = (act.side, act.pair, prompt) == ("head", 3, 20)
    return msgspec.structs.replace(measured, status="throttled", reason="decode: too hot") if last else measured


def _cold(act: Act, measured: Measurement, prompt: int) -> Measurement:
    assert measured.decode is not None
    slow = samples(measured.decode.median, mhz=1880) if act.side == "head" else measured.decode
    return msgspec.structs.replace(measured, decode=slow)


def _discarded(act: Act, measured: Measurement, prompt: int) -> Measurement:
    return msgspec.structs.replace(measured, decode=samples(2500, discarded=20)) if act.pair == 1 else measured


def _slow(act: Act, measured: Measurement, prompt: int) -> Measurement:
    return scaled(measured, 1.05) if act.side == "head" and prompt == 20 else measured


@pytest.mark.parametrize(
    ("spoil", "code", "kind", "reason"),
    [
        (_bit, 1, "wrong", r"graph = direct \(before the timed loop\): 1 values differ"),
        (_gone, 2, "missing", "head was asked for the row and did not answer it"),
        (_launches, 2, "broken", "counts of base differ from process to process"),
        (_untimed, 2, "broken", "was not timed"),
        (_no_time, 2, "broken", "0 us is no time"),
        (_slow, 3, "slower", r"decode: the same program, 1\.0"),
        (_hot, 3, "moved", "decode: head: decode: too hot"),
        (_cold, 3, "moved", r"decode: the SM clock of head was -5\.1 % against base"),
        (_discarded, 3, "moved", "decode: base throttled: 29%"),
    ],
)
def test_what_one_program_must_not_show_of_itself(
    tmp_path: Path, spoil: gate_fakes.Spoil, code: int, kind: str, reason: str
) -> None:
    result = run(tmp_path, Machine(spoil=spoil), plan(10, 20))
    assert result.exit_code == code
    assert {fault.kind for fault in result.faults} == {kind}
    assert re.search(reason, result.faults[0].reason)
    assert not result.headline.startswith("PASS")


def test_a_machine_that_moves_cannot_tell(tmp_path: Path) -> None:
    def moving(act: Act, answer: ProcessAnswer) -> ProcessAnswer:
        if act.side == "base":
            return answer
        slow = tuple(
            msgspec.structs.replace(one, samples=samples(one.samples.median * 1.01)) for one in answer.canaries
        )
        return msgspec.structs.replace(answer, canaries=slow)

    result = run(tmp_path, Machine(answer=moving), plan(10))
    assert result.exit_code == 3
    assert {fault.kind for fault in result.faults} == {"moved"}


def test_a_process_that_dies_is_broken_and_alone_runs_again(tmp_path: Path) -> None:
    broken = run(tmp_path, Machine(dies=lambda act: "killed" if act.pair == 2 else ""), plan(10))
    assert broken.exit_code == 2
    assert "died: killed" in broken.faults[0].reason
    again = Machine()
    result = run(tmp_path, again, plan(10))
    assert result.exit_code == 0
    assert {act.pair for act in again.acts} == {2, 3}
    assert result.rows[0].fit.processes == 8
    third = Machine()
    assert msgspec.structs.replace(run(tmp_path, third, plan(10)), seconds=0) == msgspec.structs.replace(
        result, seconds=0
    )
    assert third.acts == []


def test_without_times_parity_and_counts_are_compared(tmp_path: Path) -> None:
    result = run(tmp_path, Machine(), plan(10, timed=False))
    assert (result.exit_code, result.rows, result.canaries) == (0, (), ())
    assert result.headline == "PASS: 1 row x 8 processes, no fault"
    assert run(tmp_path / "other", Machine(spoil=_bit), plan(20, timed=False)).exit_code == 1


def test_a_plan_is_read_back_and_something_else_is_refused(tmp_path: Path) -> None:
    write_plan(tmp_path, plan(10))
    assert read_plan(tmp_path) == plan(10)
    (tmp_path / "aa-plan.json").write_text("{}")
    with pytest.raises(BadCall, match="not a plan of schema 1"):
        read_plan(tmp_path)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text(MATRIX)
    return tmp_path


def test_times_of_the_host_device_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["aa", "mine.toml", "--device", "host"]) == 3
    assert "its times mean nothing" in capsys.readouterr().err
    assert zeroulp(["aa", "mine.toml", "--device", "host", "--json"]) == 3
    told = capsys.readouterr()
    result = msgspec.json.decode(told.out, type=AaResult)
    assert (result.exit_code, result.device, result.timed, result.rows) == (3, "host", False, ())
    assert result.headline == f"CANNOT TELL: {told.err.strip()}"
    assert [path.name for path in here.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.toml", "--rounds", "7"], "--rounds 7: expected an even number, at least 8"),
        (["mine.toml", "--rounds", "6"], "--rounds 6: expected an even number, at least 8"),
        (["mine.toml", "--gpu", "GPU-1"], "--gpu GPU-1: the device is host"),
        (["mine.toml", "--where", "prompt == 5"], "none of the 1 row"),
        (["mine.toml", "--out", "."], "is not empty, expected a new folder"),
        (["--resume", "nothing"], "nothing/aa-plan.json: not the folder of an A/A run"),
        (["mine.toml", "--resume", "nothing"], "--resume takes matrix, options and folder from the run"),
        (["mine.toml", "--policy", "no.toml"], "no.toml: cannot read"),
    ],
)
def test_a_bad_call_is_one_line_and_leaves_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    given = ["--parity-only", "--device", "host"] if "--resume" not in arguments else []
    assert zeroulp(["aa", *arguments, *given]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not list(here.glob("results/*"))


def test_an_interrupted_run_says_how_to_go_on(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Bench.measure
    ran: list[object] = []

    def impatient(self: Bench, step: Step, *, left: int) -> Outcome:
        ran.append(step)
        if len(ran) == 4:
            raise KeyboardInterrupt
        return measure(self, step, left=left)

    monkeypatch.setattr(Bench, "measure", impatient)
    arguments = ["aa", "mine.toml", "--device", "host", "--parity-only", "--rounds", "8", "--out", "run"]
    assert zeroulp(arguments) == 130
    assert "interrupted: 3 processes are kept; go on with: zeroulp aa --resume run" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert zeroulp(["aa", "--resume", "run"]) == 0
    assert len(capsys.readouterr().err.splitlines()) == 5  # a line for each process that was not kept


@pytest.mark.parametrize("gone", ["gpu", "model", "its bytes"])
def test_a_run_is_not_resumed_where_it_cannot_be_the_same(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    made = plan(10)
    write_plan(here, made)
    monkeypatch.setattr("harness.aa_session.visible_gpus", lambda environment: () if gone == "gpu" else (made.gpu,))
    path = made.models[0].path
    if gone == "its bytes":
        (here / path).write_bytes(b"another model by now")
    assert zeroulp(["aa", "--resume", "."]) == 2
    said = {
        "gpu": f"was begun on GPU {made.gpu}",
        "model": f"its model {path} is not here",
        "its bytes": f"its model {path} is another file now",
    }
    assert said[gone] in capsys.readouterr().err


def test_fresh_processes_of_the_host_device_agree(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["aa", "mine.toml", "--device", "host", "--parity-only", "--rounds", "8", "--out", "run", "--json"]
    assert zeroulp(arguments) == 0
    result = msgspec.json.decode(capsys.readouterr().out, type=AaResult)
    assert (result.processes, result.owed, result.faults) == (8, 1, ())
    assert len(list((here / "run" / "processes").glob("*.json"))) == 8
    assert zeroulp(["aa", "--resume", "run"]) == 0
    assert "PASS: 1 row x 8 processes, no fault" in capsys.readouterr().out
    assert zeroulp(["aa", "mine.toml", "--device", "host", "--parity-only", "--out", "run"]) == 2
