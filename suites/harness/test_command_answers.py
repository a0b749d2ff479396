"""Engines that lie, crash, hang or write half a file: each is a status or a failed check, by name."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.adapters.models import open_file
from harness.adapters.oracle import exact_logits
from harness.cli.main import zeroulp
from harness.command_engine import CommandFailed, LogitBound
from harness.command_proof import AGAIN, ONE_BY_ONE, against_oracle, with_itself
from harness.proof import proof_tokens
from harness.schema import Row
from suites.harness.command_programs import VOCAB, asked, make_engine, rows_of
from suites.models import Models

Engine = Callable[..., Path]


@pytest.fixture
def tiny(models: Models) -> str:
    return str(models.tiny("Q8_0").file.path)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return partial(make_engine, tmp_path)


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
        (
            "np.savez(place, right); place.with_name('logits.npy.npz').rename(place)",
            "error",
            "mine: logits.npy is not a whole .npy",
        ),
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
            {"bound": {"nmse": 0.1}, "provides": ["logits", "one_by_one"]},
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


def test_ways_that_may_agree_within_the_bound_do(right: Path, engine: Engine, tiny: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"bound": {"nmse": 0.1}, "provides": ["logits", "one_by_one"], "one_by_one": "bound"}
    body = f"{RIGHT}if mode == 'one_by_one': right[3] *= 1.001\nnp.save(place, right)"
    code, row = bench(engine(body, **fields), tiny, tmp_path / "runs")
    assert (code, row.status) == (0, "ok")


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
