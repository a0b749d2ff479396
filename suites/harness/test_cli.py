"""The command line: what it prints, what it writes, and that it is quick to say how it is used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from engine.toggles import TOGGLES
from harness.cli.main import group, zeroulp
from harness.compare import compare
from harness.store import ENVIRONMENT, PLAN, RowWriter, write_record
from suites.harness.records import environment, plan, row
from suites.models import Models

Captured = pytest.CaptureFixture[str]


def commands(found: click.Command = group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    yield name, found
    if isinstance(found, click.Group):
        for below, command in found.commands.items():
            yield from commands(command, f"{name} {below}".strip())


@pytest.fixture
def tiny(models: Models) -> str:
    return str(models.tiny("Q8_0").file.path)


@pytest.mark.parametrize(("name", "command"), [pair for pair in commands() if pair[0] != "bench"])
def test_every_command_teaches_with_an_example(name: str, command: click.Command) -> None:
    text = command.help or ""
    program = "bench-allrows" if name == "bench allrows" else f"zeroulp {name}".strip()
    assert any(line.strip().startswith(program) for line in text.splitlines())
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or isinstance(option.type, click.Choice), f"{name} {option.name} has no help"


def test_help_is_quick() -> None:
    """Half a second on an idle core; what other processes take of it is not counted, a heavy import is."""
    program = (
        "import sys, time\nfrom harness.cli.main import zeroulp\ncode = zeroulp(['--help'])\n"
        "heavy = {'numpy', 'matplotlib', 'pandas', 'cupy', 'engine', 'rich', 'pytest'} & set(sys.modules)\n"
        "sys.exit(f'{heavy}' if heavy or time.process_time() > 0.5 else code)"
    )
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr} after {time.perf_counter() - start:.2f} s"
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize("call", [[], ["bench"], ["store"]])
def test_a_group_without_a_command_says_how_it_is_used(call: list[str], capsys: Captured) -> None:
    assert zeroulp(call) == 0
    assert "Commands:" in capsys.readouterr().out


def test_version_names_the_numerics(capsys: Captured) -> None:
    assert zeroulp(["--version"]) == 0
    assert capsys.readouterr().out == "zeroulp 0.1.0, numerics 1\n"


def test_toggles_are_all_listed(capsys: Captured) -> None:
    assert zeroulp(["toggles", "--json"]) == 0
    listed = {toggle["name"]: toggle for toggle in json.loads(capsys.readouterr().out)}
    assert list(listed) == [toggle.name for toggle in TOGGLES]
    assert listed["graph"]["values"] == "on | off"
    assert all(toggle["meaning"] and toggle["default"] for toggle in listed.values())


def test_synth_gives_the_same_bytes(tmp_path: Path, tiny: str, capsys: Captured) -> None:
    path = tmp_path / "again.gguf"
    assert zeroulp(["synth", "qwen3-tiny", "--quant", "Q8_0", "-o", str(path)]) == 0
    assert path.read_bytes() == Path(tiny).read_bytes()
    assert f"{path.stat().st_size:,} bytes" in capsys.readouterr().out


def logits(tmp_path: Path, tiny: str, engine: str, *options: str) -> np.ndarray:
    path = tmp_path / f"{engine}.npy"
    assert zeroulp(["logits", tiny, "--tokens", "5,0,511,77", "--engine", engine, "-o", str(path), *options]) == 0
    found: np.ndarray = np.load(path)
    return found


def test_logits_of_engine_and_oracle_are_the_same_bits(tmp_path: Path, tiny: str) -> None:
    oracle = logits(tmp_path, tiny, "oracle")
    assert oracle.shape == (4, 512)
    host = logits(tmp_path, tiny, "host", "--set", "prefill=sequential")
    result = compare(host, oracle)
    assert result.same, result.first_difference


def test_the_oracle_takes_the_kv_type(tmp_path: Path, tiny: str) -> None:
    half, single = logits(tmp_path, tiny, "oracle"), logits(tmp_path, tiny, "oracle", "--set", "kv=f32")
    assert not compare(half, single).same
    host = logits(tmp_path, tiny, "host", "--set", "kv=f32")
    assert compare(host, single).same


def test_ideal_is_float64_and_near_the_oracle(tmp_path: Path, tiny: str) -> None:
    ideal = logits(tmp_path, tiny, "ideal")
    assert ideal.dtype == np.float64
    assert 0 < np.abs(ideal - logits(tmp_path, tiny, "oracle")).max() < 0.5


def test_tokens_can_come_from_a_file(tmp_path: Path, tiny: str) -> None:
    (tmp_path / "tokens").write_text("5, 0\n511\t77\n")
    path = tmp_path / "file.npy"
    call = ["logits", tiny, "--tokens-file", str(tmp_path / "tokens"), "--engine", "oracle", "-o", str(path)]
    assert zeroulp(call) == 0
    assert compare(np.load(path), logits(tmp_path, tiny, "oracle")).same


def generated(capsys: Captured, tiny: str, engine: str, *options: str) -> dict[str, object]:
    call = ["generate", tiny, "--tokens", "5,0,511", "-n", "5", "--engine", engine, "--json", *options]
    assert zeroulp(call) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("graph", ["on", "off"])
def test_generate_gives_the_oracles_tokens_and_what_engaged(capsys: Captured, tiny: str, graph: str) -> None:
    host = generated(capsys, tiny, "host", "--set", f"graph={graph}")
    assert host["tokens"] == generated(capsys, tiny, "oracle")["tokens"]
    engaged = host["engaged"]
    assert isinstance(engaged, dict)
    assert engaged["graph"]["engaged"] is (graph == "on")
    assert "tokens_per_second" not in host  # an emulated speed is not a speed


def test_generate_prints_ids_and_no_speed_on_the_host(capsys: Captured, tiny: str) -> None:
    assert zeroulp(["generate", tiny, "--tokens", "5", "-n", "3", "--engine", "host"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert len([int(word) for word in first.split(",")]) == 3
    assert not any("tokens/s" in line for line in rest)


def test_print_config_can_be_used_as_a_config(tmp_path: Path, capsys: Captured) -> None:
    assert zeroulp(["bench", "allrows", "--print-config"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    call = ["bench", "allrows", str(tmp_path / "mine.toml"), "--device", "host", "--where", 'quant == "none"']
    assert zeroulp(call) == 2
    assert "none of the 48 rows" in capsys.readouterr().err


def test_report_is_made_of_stored_rows_and_exits_with_their_verdict(tmp_path: Path, capsys: Captured) -> None:
    write_record(tmp_path / PLAN, plan("a", "b"))
    write_record(tmp_path / ENVIRONMENT, environment())
    writer = RowWriter(tmp_path)
    writer.append(row("a"))
    writer.close()
    assert zeroulp(["report", str(tmp_path), "--json"]) == 2  # row b is missing
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == 2
    assert found["rows"]["missing"] == 1
    assert Path(found["report"]).is_file()
    assert zeroulp(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith(f"report: {tmp_path / 'report.html'}")


def test_parity_counts_checks_and_writes_junit(
    tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    junit = tmp_path / "junit.xml"
    call = ["parity", "harness/test_where.py", "-k", "selects", "-n", "1", "--junit-xml", str(junit), "--json"]
    assert zeroulp(call) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["checks"]["passed"] == 14
    assert found["failures"] == []
    assert 'tests="14"' in junit.read_text()
    assert list(tmp_path.iterdir()) == [junit], "nothing else is left behind"


def test_parity_that_runs_nothing_cannot_tell(capfd: Captured) -> None:
    assert zeroulp(["parity", "harness/test_where.py", "-k", "no_such_test", "-n", "1"]) == 3
    assert capfd.readouterr().out.splitlines()[-1] == "CANNOT TELL: no check was run"


def test_the_last_line_is_the_verdict_whatever_the_folder_is_called(tmp_path: Path, capsys: Captured) -> None:
    folder = tmp_path / "new\nline"
    folder.mkdir()
    write_record(folder / PLAN, plan("a"))
    write_record(folder / ENVIRONMENT, environment())
    assert zeroulp(["report", str(folder)]) == 2
    assert capsys.readouterr().out.splitlines()[-1].startswith("BROKEN: 1 row missing; report: ")


@pytest.mark.parametrize(("ended", "code"), [(0, 0), (1, 1), (-9, 2), (2, 2), (3, 2)])
def test_suites_that_were_cut_short_are_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured, ended: int, code: int
) -> None:
    def cut(root: Path, target: Path, options: list[str]) -> int:
        lines = Path(options[options.index("--parity-lines") + 1])
        states = ["passed", "failed"] if ended == 1 else ["passed"]
        lines.write_text("".join(json.dumps({"test": "a::b", "state": state, "why": ""}) + "\n" for state in states))
        return ended

    monkeypatch.setattr("harness.cli.parity._pytest", cut)
    assert zeroulp(["parity", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["exit_code"] == code


def test_a_verdict_that_nobody_reads_is_no_pass() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    call = [sys.executable, "-c", "from harness.cli.main import main; main()", "toggles", "--json"]
    done = subprocess.run(call, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (3, "")


def test_doctor_says_what_is_there(capsys: Captured) -> None:
    assert zeroulp(["doctor", "--no-ceilings", "--json"]) == 0
    found = {finding["what"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert {"zeroulp", "python", "compiler", "gpu", "cache", "disk", "memory"} <= set(found)
    assert "numerics 1" in found["zeroulp"]["detail"]


def test_doctor_names_what_mends_a_missing_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert zeroulp(["doctor", "--no-ceilings"]) == 2
    line = next(line for line in capsys.readouterr().out.splitlines() if "compiler" in line)
    assert line.startswith("MISSING")
    assert "mend it with: " in line
