"""A peer beside a sweep: run in turn with our rows, stored, resumed, and every way it can fail is one line.

No GPU takes part: rows come from the suites' fake worker, the peer is a stand-in program, the sweep is the real one.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.models import file_facts
from harness.adapters.settings import BadInput
from harness.cli.bench import _Beside, _fresh, _peer
from harness.cli.main import zeroulp
from harness.config import parse_config
from harness.errors import BadCall
from harness.planning import Sweep
from harness.progress import SweepProgress
from harness.store import PEERS, StoredRun, read_peers, read_run
from harness.sweep import run_sweep
from reports.run_report import write_report
from reports.verdict import decide
from suites.harness import fake_worker, llama_bench
from suites.harness.llama_bench import entry, program

MATRIX = """\
schema = 1
timeout = 30
repeats = 3
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 4, generated = 2, context = 8 }, { prompt = 5, generated = 2, context = 16, depth = 3 }]
[group.toggles]
graph = ["on", "off"]
"""
PEERED = ["prefill 4 at 0", "decode 4 at 4", "prefill 5 at 3", "decode 5 at 8"]

Make = Callable[..., Sweep]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def make(tmp_path: Path, cache: Path) -> Make:
    def sweep(mode: str = "answer", *, resume: Path | None = None, rows: str = "answer", timeout: int = 30) -> Sweep:
        matrix = MATRIX.replace("timeout = 30", f"timeout = {timeout}")
        return Sweep(
            config=parse_config(matrix, Path("mine.toml")),
            matrix=matrix,
            matrix_path="",
            where="",
            device="cuda",
            repeats=0,
            results=tmp_path / "results",
            resume=resume,
            cache=cache,
            command="bench-allrows mine.toml",
            environment=dict(os.environ),
            workers=1,
            peer=program(tmp_path, tmp_path / "jobs", mode),
            worker=(sys.executable, fake_worker.__file__, str(tmp_path / "jobs"), rows),
        )

    return sweep


def run(sweep: Sweep) -> StoredRun:
    with SweepProgress(io.StringIO()) as progress:
        return read_run(run_sweep(sweep, progress))


def measured(stored: StoredRun) -> list[str]:
    return [f"{peer.phase} {peer.shape.prompt if peer.shape else '?'} at {peer.position}" for peer in stored.peers]


def test_the_peer_runs_after_the_first_row_of_each_shape_and_once(make: Make, tmp_path: Path) -> None:
    stored = run(make())
    assert measured(stored) == PEERED
    assert {peer.status for peer in stored.peers} == {"ok"}
    order = (tmp_path / "jobs").read_text().split()
    trial, first, second = ["peer:1+1@1x1"], ["peer:4+0@0x3", "peer:0+2@4x3"], ["peer:5+0@3x3", "peer:0+2@8x3"]
    ours = [word for word in order if not word.startswith("peer")]
    shapes = {row.id: row.shape.prompt for row in stored.rows}
    assert [shapes[row] for row in ours] == [4, 5, 4, 5]  # apart, as for the oracle's sake
    assert order == [*trial, ours[0], *first, ours[1], *second, *ours[2:]]


def test_a_record_says_how_the_peer_was_called_and_what_it_is(make: Make) -> None:
    sweep = make()
    prefill = run(sweep).peers[0]
    assert prefill.source == str(sweep.peer)
    assert prefill.command.startswith(f"{sweep.peer} -m ")
    assert prefill.command.endswith(
        "-p 4 -n 0 -d 0 -r 3 -ub 512 -ngl 99 -sm none -mg 0 -fa 1 -ctk f16 -ctv f16 -o json"
    )
    assert (prefill.build, prefill.gpu, prefill.label) == ("0c1e570 (6789)", "Some GPU", "qwen3 8B Q4_K - Medium")
    assert prefill.tps is not None
    assert len(prefill.tps.samples) == 3


def test_a_long_prefill_counts_with_the_faster_of_two_batch_sizes(make: Make) -> None:
    matrix = MATRIX.replace("prompt = 4, generated = 2, context = 8", "prompt = 600, generated = 2, context = 1024")
    stored = run(replace(make(), config=parse_config(matrix, Path("mine.toml"))))
    prefill, decode = stored.peers[:2]
    assert "-p 600 -n 0 -d 0 -r 3 -ub 512,2048 " in prefill.command
    assert (prefill.flags["n_ubatch"], decode.flags["n_ubatch"]) == (2048, 512)
    assert prefill.tps is not None
    assert prefill.tps.median == pytest.approx(4000 * 1.02048)


def test_the_plan_holds_the_peer_for_a_resumed_run(make: Make) -> None:
    sweep = make()
    stored = run(sweep)
    assert stored.plan.peer == f"llama-bench={sweep.peer}"
    assert _peer(stored.plan.peer) == sweep.peer


def test_resume_measures_what_the_peer_lacks_and_nothing_else(make: Make, tmp_path: Path) -> None:
    stored = run(make("later:crash"))
    assert {peer.status for peer in stored.peers} == {"failed"}
    (tmp_path / "jobs").unlink()
    again = run(make(resume=stored.folder))
    assert measured(again) == PEERED
    assert {peer.status for peer in again.peers} == {"ok"}
    assert [word for word in (tmp_path / "jobs").read_text().split() if not word.startswith("peer")] == []
    (tmp_path / "jobs").unlink()
    run(make(resume=stored.folder))
    assert not (tmp_path / "jobs").exists()


def test_the_peer_stands_beside_rows_that_failed(make: Make) -> None:
    stored = run(make(rows="die"))
    assert {row.status for row in stored.rows} == {"crashed"}
    assert measured(stored) == PEERED


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("old", "entry 1 has no n_depth: this llama-bench is too old"),
        ("refuse", "exit status 1; error: invalid parameter for argument: -d; this llama-bench is too old"),
        ("crash", "killed by SIGABRT; GGML_ASSERT error: it broke"),
        ("hang", "no answer after 1 s"),
        ("noise", "no JSON"),
        ("nothing", "nothing, expected the output of llama-bench -o json"),
        ("cpu", "it ran without a GPU (backends CPU), expected a build that uses the GPU"),
    ],
)
def test_a_bad_program_is_refused_before_the_first_row(make: Make, mode: str, words: str) -> None:
    sweep = make(mode, timeout=1 if mode == "hang" else 30)
    with pytest.raises(BadInput) as error:
        run(sweep)
    assert str(error.value).startswith(f"{sweep.peer}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    assert not sweep.results.exists()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("crash", "killed by SIGABRT; GGML_ASSERT error: it broke"),
        ("kv", "it ran with the KV types f16 and q8_0, asked for f16"),
        ("repeats", "it stored 1 repeats, asked for 3"),
        ("test", "which is not what it was asked for"),
        ("cpu", "it ran without a GPU"),
    ],
)
def test_a_peer_that_fails_later_is_a_record_and_the_rows_go_on(make: Make, mode: str, words: str) -> None:
    stored = run(make(f"later:{mode}"))
    assert [row.status for row in stored.rows] == ["ok"] * 4
    failed = [peer for peer in stored.peers if peer.status == "failed"]
    assert len(failed) >= 3  # the decode of the first shape may begin at 3 by chance
    assert all(words in peer.reason for peer in failed)
    verdict = decide(stored)
    assert verdict.exit_code == 2
    assert verdict.headline.endswith(f"{len(failed)} figures of the peer failed")
    assert words in verdict.reasons[-1]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.unlink(), "cannot be found (No such file or directory)"),
        (lambda path: path.chmod(0o644), "not executable; mend it with: chmod +x"),
        (lambda path: path.write_text(""), "not a program"),
        (lambda path: (path.unlink(), path.mkdir()), "not a program"),
    ],
)
def test_no_program_to_run(make: Make, spoil: Callable[[Path], object], words: str) -> None:
    sweep = make()
    assert sweep.peer is not None
    spoil(sweep.peer)
    with pytest.raises(BadCall) as error:
        run(sweep)
    assert str(error.value).startswith(f"--peer llama-bench={sweep.peer}: ")
    assert words in str(error.value)
    assert not sweep.results.exists()


def test_a_file_that_the_system_cannot_run(make: Make) -> None:
    sweep = make()
    assert sweep.peer is not None
    sweep.peer.write_bytes(b"\x7fELF nothing behind it")
    with pytest.raises(BadInput, match=r"cannot be run \(Exec format error\)"):
        run(sweep)


def recorded(folder: Path, cache: Path) -> Path:
    """llama-bench's output for the model of the matrix, with a test that no row has."""
    (model,) = (cache / "models").glob("qwen3-tiny-Q8_0-*.gguf")
    file: dict[str, Any] = {"model": str(model), "model_size": file_facts(model).tensor_bytes}
    tests: list[dict[str, Any]] = [{"prompt": 4}, {"generated": 2}, {"prompt": 5, "depth": 3}, {"prompt": 7}]
    path = folder / "recorded.json"
    path.write_text(json.dumps([entry(**test, **file) for test in tests]))
    return path


def test_a_file_of_its_output_is_read_instead(make: Make, tmp_path: Path, cache: Path) -> None:
    run(make())  # makes the model
    path = recorded(tmp_path, cache)
    (tmp_path / "jobs").unlink()
    stored = run(replace(make(), peer=None, peer_json=path))
    assert "peer" not in (tmp_path / "jobs").read_text()
    assert [(peer.status, peer.phase, peer.position) for peer in stored.peers] == [
        ("ok", "prefill", 0),
        ("ok", "decode", 0),
        ("ok", "prefill", 3),
        ("unmatched", None, 0),
    ]
    assert "peer" not in write_report(stored.folder).headline  # what matches no row is no failure
    text = (stored.folder / "report.md").read_text()
    assert "no row of qwen3-tiny-Q8" in text
    assert "measured at another time" in text


def test_a_malformed_file_is_refused_before_the_first_row(make: Make, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("[{]")
    sweep = replace(make(), peer=None, peer_json=tmp_path / "bad.json")
    with pytest.raises(BadInput, match=r"bad\.json: no JSON"):
        run(sweep)
    assert not sweep.results.exists()


def test_the_host_device_has_no_speed_to_compare(make: Make, tmp_path: Path) -> None:
    for sweep in (make(), replace(make(), peer=None, peer_json=tmp_path / "any.json")):
        with pytest.raises(BadCall, match="an emulated speed is not a speed"):
            run(replace(sweep, device="host"))
        assert not sweep.results.exists()


def test_a_program_and_a_file_together_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="give one of them"):
        run(replace(make(), peer_json=tmp_path / "any.json"))


@pytest.mark.parametrize("text", ["other=/x", "llama-bench", "llama-bench=", "=/x", ""])
def test_a_peer_of_another_name(text: str) -> None:
    with pytest.raises(BadCall, match="expected llama-bench=PATH"):
        _peer(text)


def test_the_command_to_repeat_names_the_peer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = _fresh(None, "", "host", 0, tmp_path, _Beside(peer=_peer("llama-bench=bin/it"), json=None))
    assert sweep.command == f"bench-allrows --device host --peer llama-bench={tmp_path}/bin/it"
    assert sweep.peer == tmp_path / "bin/it"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--peer", "llama-bench=/none"), "an emulated speed is not a speed"),
        (("--peer-json", "/none"), "an emulated speed is not a speed"),
        (("--peer", "bench"), "expected llama-bench=PATH"),
    ],
)
def test_the_command_line_refuses_in_one_line(
    options: tuple[str, ...],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert zeroulp(["bench", "allrows", "--device", "host", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert list(tmp_path.iterdir()) == []


def test_a_torn_line_of_peers_is_a_note(make: Make) -> None:
    stored = run(make())
    with (stored.folder / PEERS).open("ab") as file:
        file.write(b'{"schema": 1, "id"')
    peers, problems = read_peers(stored.folder / PEERS)
    assert peers == stored.peers
    assert problems == ["peers.jsonl line 5: torn, skipped"]
    assert read_run(stored.folder).problems == ("peers.jsonl line 5: torn, skipped",)


def test_the_stand_in_prints_what_its_help_says() -> None:
    assert llama_bench.entry(prompt=3)["n_prompt"] == 3
    assert "n_depth" in llama_bench.entry(generated=2)
