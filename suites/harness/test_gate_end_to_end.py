"""The command on real commits, on the host device: trees, environments, workers, kernels, verdict, files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import zeroulp
from harness.code_hash import PACKAGES, code_hash
from harness.gate.schema import GateResult, read_gate
from harness.selftest import Selftest, Tried, keep
from suites.harness.test_gate_arms import git
from suites.selftest.planting import ROOT, scratch_copy

MATRIX = """\
schema = 1
timeout = 100
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
devices = ["host"]
shapes = [{ prompt = 4, generated = 2, context = 16 }]
[group.toggles]
graph = ["on", "off"]
"""
RIGHT, WRONG = "v[from + i]", "v[i]"

Gate = Callable[..., tuple[int, GateResult]]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tagged good, notes (nothing that computes changed) and bad (a kernel of several rows takes one head for all)."""
    folder = scratch_copy(tmp_path_factory.mktemp("repository"))
    (folder / "matrix.toml").write_text(MATRIX)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "good")
    git(folder, "tag", "good")
    kernel = folder / "engine" / "kernels" / "heads_append.cu"
    assert kernel.read_text().count(RIGHT) == 1
    kernel.write_text(kernel.read_text().replace(RIGHT, WRONG))
    git(folder, "commit", "--quiet", "--all", "-m", "bad")
    git(folder, "tag", "bad")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def run(repository: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.chdir(repository)  # its packages lie in the working directory: no process may take them from there
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)

    def gate(base: str, head: str, *options: str) -> tuple[int, GateResult]:
        out = tmp_path / f"{base}-{head}"
        code = zeroulp(["gate", base, head, "--matrix", "matrix.toml", "--device", "host", "--out", str(out), *options])
        return code, read_gate(out / "gate.json")

    return gate


def test_the_same_commit_passes(
    run: Gate, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = run("good", "good", "--json")
    assert code == result.exit_code == 0
    assert {(row.metric, row.verdict) for row in result.rows} == {("parity", "same"), ("counts", "same")}
    assert len(result.rows) == 4
    commit = git(repository, "rev-parse", "good")
    assert (result.base.git_sha, result.head.git_sha) == (commit, commit)
    assert result.head.numerics is not None
    assert any("not measured on an emulated device" in note for note in result.notes)
    assert json.loads(capsys.readouterr().out)["headline"] == result.headline == "PASS: 2 same"
    folder = tmp_path / "good-good"
    assert sorted(path.name for path in folder.iterdir()) == [
        "gate-plan.json",
        "gate.json",
        "junit.xml",
        "processes",
        "summary.md",
    ]
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_wrong_kernel_exits_1_and_its_check_is_named(run: Gate, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = run("good", "bad", "--annotations")
    assert code == result.exit_code == 1
    out = capsys.readouterr().out
    assert "::error title=wrong%3A parity::qwen3-tiny Q8_0, 4 + 2 tokens" in out
    assert "batched = sequential (before the timed loop)" in result.parity.first_divergence
    assert {row.verdict for row in result.rows if row.metric == "parity"} == {"wrong"}
    assert result.parity.reproduce.startswith(f"zeroulp gate {result.base.git_sha[:12]} {result.head.git_sha[:12]} ")
    assert "wrong" in out.splitlines()[-1]


def test_a_fix_of_a_wrong_base_passes(run: Gate, tmp_path: Path) -> None:
    (tmp_path / "score.json").write_text('{"faults": [{"name": "a", "caught": true}, {"name": "b", "caught": false}]}')
    code, result = run("bad", "good", "--where", 'graph == "on"', "--selftest", str(tmp_path / "score.json"))
    assert code == 0
    assert result.selftest is not None
    assert (result.selftest.caught, result.selftest.missed) == (1, ("b",))
    assert [row.reason for row in result.rows if row.metric == "parity"] == ["base fails a check that head passes"]


def test_the_selftest_score_of_the_code_of_head_is_shown(run: Gate, repository: Path, cache: Path) -> None:
    faults = (Tried(name="a", caught=True, by="t"), Tried(name="b", caught=False))
    code = code_hash(PACKAGES, repository)  # of bad, which is checked out there
    keep(Selftest(faults=faults, caught=1, planted=2, catalogue=2, device="host", code=code), cache / "zeroulp")
    _, of_bad = run("good", "bad", "--where", 'graph == "on"')
    _, of_good = run("bad", "good", "--where", 'graph == "on"')
    assert of_bad.selftest is not None
    assert (of_bad.selftest.caught, of_bad.selftest.missed) == (1, ("b",))
    assert of_good.selftest is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["good"], "expected BASE and HEAD, or --resume FOLDER"),
        (["good", "nowhere"], "nowhere: neither a commit of"),
        (["good", "good", "--matrix", "none.toml"], "none.toml: cannot read"),
        (["good", "good", "--accept", "none.toml"], "none.toml: cannot read"),
        (["good", "good", "--policy", "none.toml"], "none.toml: cannot read"),
        (["good", "good", "--noise", "none.toml"], "none.toml: cannot read"),
        (["good", "good", "--selftest", "none.json"], "none.json: cannot read"),
        (["good", "good", "--gpu", "GPU-1"], "--gpu GPU-1: the device is host"),
        (["--resume", "engine"], "gate-plan.json: not the folder of a gate"),
        (["good", "--resume", "engine"], "give it alone"),
        (["good", "good", "--out", "engine"], "engine: is not empty"),
        (["good", "good", "--where", "prompt == 5"], "none of the 2 rows"),
    ],
)
def test_a_bad_call_is_one_line_and_leaves_nothing(
    run: Gate, repository: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    before = git(repository, "status", "--porcelain")
    options = [] if "--resume" in arguments else ["--device", "host"]
    if options and "--matrix" not in arguments:
        options += ["--matrix", "matrix.toml"]
    assert zeroulp(["gate", *arguments, *options]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("zeroulp:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert git(repository, "status", "--porcelain") == before


def test_an_arm_that_cannot_be_built_leaves_nothing(
    run: Gate, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel, out = tmp_path / "no.whl", tmp_path / "out"
    wheel.write_text("no zip")
    command = ["gate", "good", str(wheel), "--matrix", "matrix.toml", "--device", "host", "--out", str(out)]
    assert zeroulp(command) == 2
    assert "no.whl: cannot be unpacked" in capsys.readouterr().err
    assert not out.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_gate_that_was_stopped_goes_on_where_it_was(
    run: Gate, repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: signal.Signals
) -> None:
    out = tmp_path / "stopped"
    program = "import sys; from harness.cli.main import zeroulp; sys.exit(zeroulp(sys.argv[1:]))"
    arguments = ["gate", "good", "bad", "--matrix", "matrix.toml", "--device", "host", "--out", str(out)]
    packages = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    stopped = subprocess.Popen(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": packages},
        stderr=subprocess.PIPE,
        text=True,
    )
    first, end = out / "processes" / "pairs-000-00-base.json", time.monotonic() + 120
    while not first.exists() and time.monotonic() < end:
        time.sleep(0.01)
    stopped.send_signal(how)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == (130 if how == signal.SIGINT else -how)
    assert (f"1 process is kept; go on with: zeroulp gate --resume {out}" in said) == (how == signal.SIGINT)
    kept = first.stat().st_mtime_ns
    assert zeroulp(["gate", "--resume", str(out)]) == 1
    assert first.stat().st_mtime_ns == kept
    assert "pair 1           head" in capsys.readouterr().err
    assert read_gate(out / "gate.json").pairs_spent == 1
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_two_finished_runs_are_gated_by_parity_and_counts(
    run: Gate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def bench(*options: str) -> str:
        command = ["bench", "allrows", "matrix.toml", "--device", "host", "--out", str(tmp_path), "--json"]
        assert zeroulp([*command, *options]) == 0
        folder: str = json.loads(capsys.readouterr().out)["run"]
        return folder

    whole, half = bench(), bench("--where", 'graph == "on"')
    with (Path(half) / "rows.jsonl").open("ab") as rows:
        rows.write(b'{"torn')
    options = ["--device", "host", "--out"]
    assert zeroulp(["gate", whole, whole, *options, str(tmp_path / "same")]) == 0
    assert read_gate(tmp_path / "same" / "gate.json").head.kind == "run"
    assert zeroulp(["gate", whole, half, *options, str(tmp_path / "vanished")]) == 2
    vanished = read_gate(tmp_path / "vanished" / "gate.json")
    assert "head: rows.jsonl line 2: torn, skipped" in vanished.notes
    missing = [row for row in vanished.rows if row.verdict == "missing"]
    assert [row.toggles["graph"] for row in missing] == ["off"]
    assert f"missing: row {missing[0].key}, " in capsys.readouterr().out
    assert zeroulp(["gate", whole, "good", *options, str(tmp_path / "mixed")]) == 0
    mixed = read_gate(tmp_path / "mixed" / "gate.json")
    assert (mixed.base.kind, mixed.head.kind, len(mixed.rows)) == ("run", "commit", 4)
