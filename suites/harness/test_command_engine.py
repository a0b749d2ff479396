"""Engines that are not ours: the NumPy example for real, where its rows go, and what an engine.toml may say."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.cli.main import zeroulp
from harness.command_engine import ask, read_engine
from harness.command_proof import AGAIN, ONE_BY_ONE
from harness.store import read_run
from reports.charts.parity import matrix
from reports.frames import check_frame, row_frame
from suites.harness.command_programs import TOKENS, TORCH, TRANSFORMERS, VOCAB, make_engine, rows_of
from suites.models import Models
from suites.status import not_applicable

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMPY = EXAMPLES / "numpy_engine.toml"

Captured = pytest.CaptureFixture[str]
Engine = Callable[..., Path]


@pytest.fixture(autouse=True)
def _checkout() -> None:
    if not NUMPY.exists():
        not_applicable("the examples are a part of the checkout, not of the package")


@pytest.fixture
def tiny(models: Models) -> str:
    return str(models.tiny("Q8_0").file.path)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return partial(make_engine, tmp_path)


# ---- the example, for real


@pytest.mark.parametrize("quant", ["Q8_0", "F16", "Q4_K_M"])
def test_the_numpy_example_is_proven_against_the_ideal_form(
    quant: str, models: Models, tmp_path: Path, capfd: Captured
) -> None:
    model = str(models.tiny(quant).file.path)
    command = ["bench", "command", str(NUMPY), model, "--shape", "9+3", "--repeats", "2", "--out", str(tmp_path)]
    assert zeroulp([*command, "--json"]) == 0
    told = capfd.readouterr()
    assert json.loads(told.out)["exit_code"] == 0
    begun, done = told.err.splitlines()
    assert begun.startswith("engine numpy: 1 row of ")
    assert re.fullmatch(r"\[1/1\] ok .*, 9 \+ 3 tokens, engine numpy, kv f32  \d+\.\d s", done)
    (row,) = rows_of(tmp_path)
    assert (row.status, row.device, row.toggles) == ("ok", "command", {"engine": "numpy", "kv": "f32"})
    assert [(check.name, check.when, check.status) for check in row.proof] == [
        ("command = ideal", "before", "passed"),
        (ONE_BY_ONE, "before", "passed"),
        ("command = ideal", "after", "passed"),
        (AGAIN, "after", "passed"),
    ]
    assert all(check.values == 12 * VOCAB for check in row.proof)
    assert row.proof[0].bound == "NMSE 1e-10, mean KL 1e-08"
    assert row.proof[3].bound == ""
    assert row.metrics is not None
    assert row.metrics.launches_per_token is None
    assert row.metrics.decode_tps is not None
    assert len(row.metrics.decode_tps.samples) == 2


def test_reports_say_which_values_were_not_compared_by_bits(tiny: str, tmp_path: Path, capfd: Captured) -> None:
    words = ["bench", "command", str(NUMPY), tiny, "--shape", "5+2", "--repeats", "1", "--out", str(tmp_path / "runs")]
    assert (zeroulp(words), zeroulp(words)) == (0, 0)
    capfd.readouterr()
    base, head = sorted((tmp_path / "runs").iterdir())
    text = (base / "report.md").read_text()
    assert "3,584 values compared by bits in 1 comparison of 1 row: 0 differ. 10,752 values in 3 comparisons" in text
    assert "were held against the bound of a foreign engine, not by bits" in text
    assert text.startswith(f"# zeroulp bench command, run {base.name}")
    assert "Nothing was counted; bytes and operations follow" in text
    assert "compiled for" not in text
    run = read_run(base)
    assert not matrix(row_frame(run), check_frame(run)).by_bits
    assert zeroulp(["gate", str(base), str(head), "--out", str(tmp_path / "gate")]) == 0
    said = capfd.readouterr()
    assert "times: an engine that is not ours reports its own" in said.out + said.err
    assert "within the bound of a foreign engine, or by bits" in (tmp_path / "gate" / "summary.md").read_text()
    assert zeroulp(["compare", str(base), str(head)]) == 0
    assert "engine numpy, kv f32" in capfd.readouterr().out
    row = read_run(base).rows[0]
    assert zeroulp(["parity", str(base), "--check", f"{row.key}:again:after"]) == 2
    assert "make it again with: zeroulp bench command" in capfd.readouterr().err


def test_logits_and_diverge_take_a_command(tiny: str, tmp_path: Path, capfd: Captured) -> None:
    out, name = tmp_path / "l.npy", f"command:{NUMPY}"
    assert zeroulp(["logits", tiny, "--tokens", "1,2,3", "--engine", name, "-o", str(out)]) == 0
    assert capfd.readouterr().out == f"{out}: 3 x 512 float32, {name}\n"
    assert np.load(out).shape == (3, VOCAB)
    assert zeroulp(["diverge", name, name, tiny, "--tokens", "1,2,3", "-n", "0"]) == 0
    capfd.readouterr()
    assert zeroulp(["diverge", name, "oracle", tiny, "--tokens", "1,2,3", "-n", "0", "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert (found["where"]["tap"], found["where"]["position"]) == ("logits", 0)
    assert f"{name}: every value but the logits: not provided by this engine" in found["remarks"]


def test_a_program_without_a_toml_gives_logits(tiny: str, tmp_path: Path, capfd: Captured) -> None:
    program = tmp_path / "mine"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nimport numpy as np\nids = open(sys.argv[2]).read().split()\n"
        "np.save(sys.argv[3] + '/logits.npy', np.full((len(ids), 512), len(ids), np.float32))\n"
    )
    words = ["logits", tiny, "--tokens", "1,2,3", "--engine", f"command:{program}", "-o", str(tmp_path / "l.npy")]
    assert zeroulp(words) == 2
    assert "mine: not executable, expected a program or an engine.toml" in capfd.readouterr().err
    program.chmod(0o755)
    assert zeroulp(words) == 0
    assert (np.load(tmp_path / "l.npy") == 3).all()


@pytest.mark.parametrize("mode", ["at_once", "one_by_one"])
def test_the_transformers_example_keeps_the_contract(mode: Any, tiny: str, tmp_path: Path) -> None:
    for name, text in (("torch", TORCH), ("transformers", TRANSFORMERS)):
        (tmp_path / f"{name}.py").write_text(text)
    found = read_engine(str(EXAMPLES / "transformers_engine.toml"), {**os.environ, "PYTHONPATH": str(tmp_path)})
    answer = ask(found, Path(tiny), TOKENS, VOCAB, mode=mode, generated=2, repeats=3)
    assert (answer.logits == np.cumsum(TOKENS)[:, None]).all()
    assert [(speed.phase, speed.tokens, len(speed.tokens_per_second)) for speed in answer.speeds] == [
        ("prefill", 4, 3),
        ("decode", 2, 3),
    ]


# ---- engine.toml


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"command": ["run", "{model}"]}, "provides logits, so the command must have {tokens} in it"),
        ({"provides": ["logits", "one_by_one"], "command": ["{model}{tokens}{out}"]}, "must have {mode} in it"),
        ({"provides": ["speed"]}, 'provides with at least "logits"'),
        ({"provides": ["logits", "taps"]}, "Invalid enum value 'taps'"),
        ({"timeout": 3}, "Object contains unknown field `timeout`"),
        ({"bound": {"against": "ideal"}}, "ideal is float64 and has no bits in common with an engine"),
        ({"bound": {"nmse": float("inf")}}, "bounds and timeout_s must be finite"),
        ({"timeout_s": 0.0}, "bounds and timeout_s must be finite"),
        ({"name": ""}, "expected a name, a command"),
    ],
)
def test_a_bad_toml_is_one_line(
    fields: dict[str, Any], text: str, engine: Engine, tiny: str, tmp_path: Path, capfd: Captured
) -> None:
    path = engine("", **fields)
    assert zeroulp(["bench", "command", str(path), tiny, "--out", str(tmp_path / "runs")]) == 2
    said = capfd.readouterr().err
    assert text in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["no.toml", "MODEL"], "no.toml: not found"),
        ([str(NUMPY), "qwen3-tiny"], "qwen3-tiny: expected a type, too, as in qwen3-tiny:Q8_0, or the path of a"),
        ([str(NUMPY), "MODEL", "--shape", "12"], "--shape '12': expected prompt and generated tokens such as 128+32"),
        ([str(NUMPY), "MODEL", "--shape", "1+1", "--shape", "1+1"], "--shape: the same shape twice"),
        ([str(NUMPY), "MODEL", "--shape", "999999+1"], "context 1000000: expected 1 to the model's"),
    ],
)
def test_a_bad_call_is_one_line(words: list[str], text: str, tiny: str, tmp_path: Path, capfd: Captured) -> None:
    words = [tiny if word == "MODEL" else word for word in words]
    assert zeroulp(["bench", "command", *words, "--out", str(tmp_path / "runs")]) == 2
    assert text in capfd.readouterr().err


def test_an_unknown_engine_is_one_line(tiny: str, tmp_path: Path, capfd: Captured) -> None:
    words = ["logits", tiny, "--tokens", "1", "-o", str(tmp_path / "l.npy"), "--engine"]
    assert zeroulp([*words, "command:"]) == 2
    assert "'command:' names nothing, expected command:PATH of an engine.toml or a program" in capfd.readouterr().err
    assert zeroulp([*words, "llama"]) == 2
    assert "--engine llama: expected one of ideal, oracle, host, cuda, or command:PATH" in capfd.readouterr().err
    assert zeroulp([*words, f"command:{NUMPY}", "--set", "graph=off"]) == 2
    assert "a command has none of our toggles" in capfd.readouterr().err
