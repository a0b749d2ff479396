"""Engines that are not ours: the NumPy example for real, and engines that lie in every way, each by its status."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.adapters.models import open_file
from harness.adapters.oracle import exact_logits
from harness.cli.main import zeroulp
from harness.command_engine import CommandFailed, LogitBound, ask, read_engine
from harness.command_proof import AGAIN, ONE_BY_ONE, against_oracle, with_itself
from harness.schema import Row
from harness.store import read_run
from suites.models import Models

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMPY = EXAMPLES / "numpy_engine.toml"
TOKENS = [5, 9, 2, 77, 1, 300]
VOCAB = 512

Captured = pytest.CaptureFixture[str]
Engine = Callable[..., Path]

# The answers of an engine that knows the right ones: `right` is filled with logits by token list.
PROGRAM = """
import os, sys, time, signal, json
from pathlib import Path
import numpy as np
model, tokens, out, mode, generated, repeats = sys.argv[1:]
ids = [int(word) for word in Path(tokens).read_text().split()]
right = np.random.default_rng(ids).standard_normal((len(ids), 512)).astype(np.float32)
place = Path(out) / "logits.npy"
"""


@pytest.fixture
def tiny(models: Models) -> str:
    return str(models.tiny("Q8_0").file.path)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """An engine.toml over a program of a few lines."""

    def make(body: str, **fields: Any) -> Path:
        program = tmp_path / "program.py"
        program.write_text(PROGRAM + textwrap.dedent(body))
        words = ("{python}", "program.py", "{model}", "{tokens}", "{out}", "{mode}", "{generated}", "{repeats}")
        spec = {"name": "mine", "command": words, "provides": ["logits"], "timeout_s": 30.0, **fields}
        path = tmp_path / "engine.toml"
        path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in spec.items()))
        return path

    return make


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    return str(value) if isinstance(value, float) else json.dumps(value)


def asked(path: Path, tiny: str, **options: Any) -> Any:
    return ask(read_engine(str(path), os.environ), Path(tiny), TOKENS, VOCAB, **options)


def rows_of(folder: Path) -> tuple[Row, ...]:
    (run,) = folder.iterdir()
    return read_run(run).rows


# ---- the example, for real


@pytest.mark.parametrize("quant", ["Q8_0", "F16", "Q4_K_M"])
def test_the_numpy_example_is_proven_against_the_ideal_form(
    quant: str, models: Models, tmp_path: Path, capfd: Captured
) -> None:
    model = str(models.tiny(quant).file.path)
    command = ["bench", "command", str(NUMPY), model, "--shape", "9+3", "--repeats", "2", "--out", str(tmp_path)]
    assert zeroulp([*command, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["exit_code"] == 0
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


# ---- answers that cannot be used: a status and one line


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("sys.exit('no such layer')", "crashed", "mine: exit status 1; no such layer"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "crashed", "mine: killed by SIGSEGV"),
        ("pass", "error", "mine: wrote no logits.npy, expected float32 (6, 512)"),
        ("np.save(place, right[:5])", "error", "mine: logits.npy is float32 (5, 512), expected float32 (6, 512)"),
        ("np.save(place, right.T)", "error", "mine: logits.npy is float32 (512, 6), expected float32 (6, 512)"),
        ("np.save(place, right.astype(np.float16))", "error", "mine: logits.npy is float16 (6, 512), expected"),
        ("right[3, 17] = np.nan; np.save(place, right)", "error", "mine: logits.npy holds NaN at [3, 17]"),
        ("right[0, 1] = np.inf; np.save(place, right)", "error", "mine: logits.npy holds inf at [0, 1]"),
        ("place.write_text('no array')", "error", "mine: logits.npy is not a whole .npy file ("),
        ("np.save(place, np.array([{}], object), allow_pickle=True)", "error", "mine: logits.npy is not a whole .npy"),
        ("np.savez(place, right); place.with_name('logits.npy.npz').rename(place)", "error", "mine: logits.npy is not a whole .npy"),
    ],
)
def test_an_answer_that_cannot_be_used(body: str, status: str, text: str, engine: Engine, tiny: str) -> None:
    with pytest.raises(CommandFailed) as caught:
        asked(engine(body), tiny)
    assert caught.value.status == status
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 60, 128, 5000, 6 * VOCAB * 4 + 127])
def test_a_half_written_file_is_refused(kept: int, engine: Engine, tiny: str) -> None:
    path = engine(f"np.save(place, right); place.write_bytes(place.read_bytes()[:{kept}])")
    with pytest.raises(CommandFailed, match=r"^mine: logits\.npy is not a whole \.npy file \("):
        asked(path, tiny)


def test_a_hang_is_ended_with_all_that_it_started(engine: Engine, tiny: str, tmp_path: Path) -> None:
    mark = tmp_path / "child"
    body = f"""
        import subprocess
        child = subprocess.Popen(["sleep", "60"])
        Path({str(mark)!r}).write_text(str(child.pid))
        child.wait()
    """
    with pytest.raises(CommandFailed, match=r"^mine: no answer after 1\.5 s$") as caught:
        asked(engine(body, timeout_s=1.5), tiny)
    assert caught.value.status == "hung"
    stat = Path(f"/proc/{mark.read_text()}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (None, "mine: provides speed, but wrote no rows.jsonl"),
        ('{"phase": "decode"', "mine: rows.jsonl line 1: "),
        ('{"phase": "decode", "tokens": 2}', "line 1: Object missing required field `tokens_per_second`"),
        ('{"phase": "sampling", "tokens": 2, "tokens_per_second": [1.0]}', "line 1: Invalid enum value 'sampling'"),
        ('{"phase": "decode", "tokens": 2, "tokens_per_second": [1.0]}', "line 1: expected 2 speeds above 0"),
        ('{"phase": "decode", "tokens": 2, "tokens_per_second": [1.0, 0]}', "line 1: expected 2 speeds above 0"),
        ('{"phase": "decode", "tokens": 2, "tokens_per_second": [1.0, NaN]}', "mine: rows.jsonl line 1: "),
        (
            '{"phase": "decode", "tokens": 2, "tokens_per_second": [1, 2]}\\n' * 2,
            "mine: rows.jsonl has a phase twice",
        ),
    ],
)
def test_speeds_that_cannot_be_used(lines: str | None, text: str, engine: Engine, tiny: str) -> None:
    write = f"(Path(out) / 'rows.jsonl').write_text('{lines}')" if lines is not None else ""
    path = engine(f"np.save(place, right)\n{write}", provides=["logits", "speed"])
    with pytest.raises(CommandFailed) as caught:
        asked(path, tiny, generated=2, repeats=2)
    assert text in str(caught.value)


# ---- answers that are wrong: a failed check


def bench(path: Path, tiny: str, folder: Path) -> tuple[int, Row]:
    words = ["bench", "command", str(path), tiny, "--shape", "4+2", "--repeats", "2", "--out", str(folder)]
    code = zeroulp(words)
    return code, rows_of(folder)[0]


RIGHT = "right = np.load(os.environ['RIGHT'])\n"


@pytest.fixture
def right(tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exact form's logits of the tokens that a row of 4 + 2 asks for, where a program finds them."""
    from harness.proof import proof_tokens

    logits = exact_logits(open_file(Path(tiny)), proof_tokens(VOCAB, prefilled=4, decoded=2).ids, kv="f32")
    path = tmp_path / "right.npy"
    np.save(path, logits)
    monkeypatch.setenv("RIGHT", str(path))
    return path


EXACT = {"bound": {"against": "exact"}, "kv": "f32"}


def test_an_engine_that_gives_the_oracles_bits_is_proven(
    right: Path, engine: Engine, tiny: str, tmp_path: Path
) -> None:
    code, row = bench(engine(RIGHT + "np.save(place, right)", **EXACT), tiny, tmp_path / "runs")
    assert (code, row.status) == (0, "ok")
    assert [check.name for check in row.proof if check.status == "passed"] == ["command = exact"] * 2 + [AGAIN]
    (idle,) = [check for check in row.proof if check.status == "not_applicable"]
    assert (idle.name, idle.reason) == (ONE_BY_ONE, "not provided by this engine")
    assert row.metrics is not None
    assert (row.metrics.decode_tps, row.metrics.prefill_tps) == (None, None)


@pytest.mark.parametrize(
    ("body", "fields", "check"),
    [
        ("right[5, 100] = np.nextafter(right[5, 100], 9)\nnp.save(place, right)", EXACT, "command = exact (before)"),
        ("right[[4, 5]] = right[[5, 4]]\nnp.save(place, right)", EXACT, "command = exact (before)"),
        (
            "right = np.random.default_rng(0).standard_normal(right.shape).astype(np.float32)\nnp.save(place, right)",
            {"bound": {"nmse": 0.1}},
            "command = ideal (before)",
        ),
        (
            "if repeats == '0': right[0, 0] += 1\nnp.save(place, right)",
            {**EXACT, "provides": ["logits", "speed"]},
            "command = exact (after)",
        ),
        (
            "right[0, 0] += 1e-4 * np.random.default_rng().random()\nnp.save(place, right)",
            {"bound": {"nmse": 0.1}},
            f"{AGAIN} (after)",
        ),
        (
            "if mode == 'one_by_one': right[3] *= 1.001\nnp.save(place, right)",
            {**EXACT, "provides": ["logits", "one_by_one"]},
            f"{ONE_BY_ONE} (before)",
        ),
    ],
    ids=["bit", "rows swapped", "other tokens", "right when timed only", "not repeatable", "not one by one"],
)  # fmt: skip
def test_a_wrong_answer_fails_by_name(
    body: str, fields: dict[str, Any], check: str, right: Path, engine: Engine, tiny: str, tmp_path: Path
) -> None:
    speeds = """
        if repeats != "0":
            counts = {"prefill": 4, "decode": 2}
            lines = [{"phase": p, "tokens": n, "tokens_per_second": [1.0, 2.0]} for p, n in counts.items()]
            (Path(out) / "rows.jsonl").write_text("\\n".join(map(json.dumps, lines)))
    """
    code, row = bench(engine(RIGHT + body + "\n" + textwrap.dedent(speeds), **fields), tiny, tmp_path / "runs")
    assert (code, row.status) == (1, "parity_failed")
    assert row.reason.startswith(f"{check}: ")


def test_a_speed_of_another_shape_and_a_crash_are_the_status_of_the_row(
    right: Path, engine: Engine, tiny: str, tmp_path: Path
) -> None:
    line = '{"phase": "decode", "tokens": 7, "tokens_per_second": [1.0, 2.0]}'
    speed = engine(
        f"{RIGHT}np.save(place, right)\n(Path(out) / 'rows.jsonl').write_text('{line}')",
        **EXACT,
        provides=["logits", "speed"],
    )
    code, row = bench(speed, tiny, tmp_path / "speed")
    assert (code, row.status) == (2, "error")
    assert row.reason == "mine: its decode speed is of 7 tokens, asked for 2"
    code, row = bench(engine("sys.exit(3)", **EXACT), tiny, tmp_path / "crash")
    assert (code, row.status, row.reason) == (2, "crashed", "mine: exit status 3")


@pytest.mark.parametrize(
    ("bound", "passes"),
    [
        (LogitBound(nmse=1e-3), True),
        (LogitBound(nmse=1e-9), False),
        (LogitBound(nmse=1e-3, kl=1e-12), False),
        (LogitBound(ulps=2), False),
        (LogitBound(against="exact"), False),
    ],
)
def test_every_bound_that_is_given_must_hold(bound: LogitBound, passes: bool) -> None:
    rng = np.random.default_rng(1)
    expected = rng.standard_normal((5, 40))
    logits = (expected * (1 + 1e-3 * rng.standard_normal((5, 40)))).astype(np.float32)
    check = against_oracle(logits, expected, bound, "before")
    assert (check.status == "passed") == passes
    assert bool(check.differing) != passes
    assert with_itself(AGAIN, logits, logits, None, "after").status == "passed"


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
    assert zeroulp([*words, "llama"]) == 2
    assert "--engine llama: expected one of ideal, oracle, host, cuda, or command:PATH" in capfd.readouterr().err
    assert zeroulp([*words, f"command:{NUMPY}", "--set", "graph=off"]) == 2
    assert "a command has none of our toggles" in capfd.readouterr().err
