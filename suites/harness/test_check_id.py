"""Every check has an id, and the id runs that check alone: the checks of a row, and the tests of the suites."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest

from engine.session import Session
from harness.adapters.engine import SessionEngine
from harness.check_id import WORDS, check_id, parse_check_id
from harness.cli.main import zeroulp
from harness.code_hash import package_folder
from harness.errors import BadCall
from harness.measure import Measured
from harness.one_check import checks_of, find_row
from harness.proof import Prover, proof_tokens
from harness.proven import Proven
from harness.schema import Check, Shape
from harness.store import StoredRun, read_run
from suites.harness.fakes import VOCAB, FakeEngine

MATRIX = """
schema = 1
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 6, generated = 2, context = 16, depth = 3, verify = 2 }]
[group.toggles]
graph = ["on", "off"]
chunk = 4
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A finished sweep of two rows."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "matrix.toml").write_text(MATRIX)
    words = ["bench", "allrows", str(folder / "matrix.toml"), "--device", "host", "--out", str(folder / "results")]
    assert zeroulp(words) == 0
    return read_run(next((folder / "results").iterdir()))


def again(run: StoredRun, wanted: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    """Exit code and answer of `--check` alone."""
    capsys.readouterr()
    code = zeroulp(["parity", str(run.folder), "--check", wanted, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_check_of_a_run_is_listed_and_runs_alone(run: StoredRun, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert zeroulp(["parity", str(run.folder), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["checks"]
    assert (
        len(listed) == len({check["id"] for check in listed}) == 2 * (2 * 5 + 1)
    )  # rows, before and after, checks, one behind the depth
    row = run.rows[0]
    for check in row.proof:
        code, found = again(run, check_id(row.key, check), capsys)
        assert code == {"passed": 0, "not_applicable": 3}[check.status]
        assert (found["name"], found["when"], found["status"]) == (check.name, check.when, check.status)
        assert (found["values"], found["differing"]) == (check.values, check.differing)


@pytest.mark.parametrize("how", ["missing", "crashed", "not applicable", "differing", "nothing compared"])
def test_a_run_whose_checks_do_not_carry_it_is_listed_and_no_pass(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    first, second = run.rows
    (check, *rest) = second.proof
    changes: dict[str, dict[str, Any]] = {
        "crashed": {"status": "crashed", "proof": ()},
        "not applicable": {"status": "not_applicable", "proof": ()},
        "differing": {"proof": (msgspec.structs.replace(check, differing=1), *rest)},
        "nothing compared": {"proof": (msgspec.structs.replace(check, values=0), *rest)},
    }
    rows = [first, *([msgspec.structs.replace(second, **changes[how])] if how in changes else [])]
    (folder / "rows.jsonl").write_bytes(b"".join(msgspec.json.encode(row) + b"\n" for row in rows))
    code = {"missing": 3, "crashed": 3, "not applicable": 0}.get(how, 1)
    capsys.readouterr()
    assert zeroulp(["parity", str(folder)]) == code
    said = capsys.readouterr().out.splitlines()
    assert (f"CANNOT TELL: 1 row has no check that passed, such as {second.key}" in said) == (code == 3)
    assert zeroulp(["parity", str(folder), "--json"]) == code
    answer = json.loads(capsys.readouterr().out)
    assert (answer["exit_code"], answer["unshown"]) == (code, [second.key] if code == 3 else [])


@pytest.mark.parametrize("wanted", ["depth:before", "one_by_one:after", "again:before"])
def test_a_check_that_a_row_has_not_is_a_bad_call(
    run: StoredRun, capsys: pytest.CaptureFixture[str], wanted: str
) -> None:
    row = run.rows[0]
    capsys.readouterr()
    assert zeroulp(["parity", str(run.folder), "--check", f"{row.key}:{wanted}"]) == 2
    said = capsys.readouterr().err
    ids = ", ".join(sorted(check_id(row.key, check).partition(":")[2] for check in row.proof))
    assert said == f"zeroulp: check {wanted}: row {row.key} has none, expected one of {ids}\n"


def test_a_plain_row_has_no_check_of_depth_and_of_rows_at_once(run: StoredRun) -> None:
    plain = msgspec.structs.replace(run.plan.rows[0], shape=Shape(prompt=6, generated=2, context=16))
    assert not {word for word, _ in checks_of(plain)} & {"depth", "verify"}


def test_one_check_makes_no_other(
    run: StoredRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a pair its two sessions, of the oracle's one; after the loop the row's answer was generated."""
    made: list[Session] = []
    generated: list[int] = []
    start, generate = SessionEngine.__init__, SessionEngine.generate

    def noted(engine: SessionEngine, session: Session) -> None:
        made.append(session)
        start(engine, session)

    def counted(engine: SessionEngine, tokens: Any, n: int) -> list[int]:
        generated.append(n)
        return generate(engine, tokens, n)

    monkeypatch.setattr(SessionEngine, "__init__", noted)
    monkeypatch.setattr(SessionEngine, "generate", counted)
    key = run.rows[0].key
    for word, when, sessions, answers in (("graph", "before", 2, []), ("oracle", "after", 1, [2])):
        made.clear()
        generated.clear()
        assert again(run, f"{key}:{word}:{when}", capsys)[0] == 0
        assert len(made) == sessions
        assert generated == answers


def test_a_wrong_bit_fails_the_check_again(
    run: StoredRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode = SessionEngine.decode

    def spoiled(engine: SessionEngine, token: int) -> Any:
        logits = decode(engine, token)
        if engine.session.toggles.graph == "on":
            logits[5] = np.nextafter(logits[5], np.float32(np.inf))
        return logits

    monkeypatch.setattr(SessionEngine, "decode", spoiled)
    row = next(row for row in run.rows if row.toggles["graph"] == "on")
    code, found = again(run, f"{row.key}:graph:before", capsys)
    assert code == 1
    assert (found["differing"], found["worst_ulp"]) == (2, 1)
    words = found["where"].split()
    assert words[:4] == ["zeroulp", "diverge", "host:chunk=4", "host:graph=off,chunk=4"]
    assert words[5:] == ["--prompt-length", "6", "-n", "2"]
    assert zeroulp(words[1:]) == 0  # the bits were spoiled behind the last op: no op is to blame
    assert again(run, f"{row.key[:6]}:prefill:before", capsys)[0] == 0  # both sides have the same wrong bits


def test_another_model_of_the_same_name_is_refused(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = run.folder / "plan.json"
    copy = tmp_path / "run"
    copy.mkdir()
    for name in ("environment.json", "rows.jsonl"):
        (copy / name).write_bytes((run.folder / name).read_bytes())
    sha256 = run.rows[0].model.sha256
    (copy / "plan.json").write_text(plan.read_text().replace(sha256, "0" * 64))
    key = read_run(copy).plan.rows[0].key
    capsys.readouterr()
    assert zeroulp(["parity", str(copy), "--check", f"{key}:graph:before"]) == 2
    assert "is another model now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--check", "ab:graph:before"), "is one of a row, expected the folder of its run"),
        (("--check", "ab:grph:before"), "expected KEY:CHECK:WHEN"),
        (("kernels", "--check", "suites/kernels/test_add.py::test_in_place"), "is a test, expected no suite beside it"),
        (("--check", "suites/kernels/test_nothing.py::test_x"), "suite 'kernels/test_nothing.py'"),
    ],
)
def test_a_bad_id_is_one_line(words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["parity", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_row_is_found_by_the_id_that_its_line_has(run: StoredRun) -> None:
    row = run.plan.rows[1]
    assert row.id != row.key
    assert find_row(run.plan, row.id) == find_row(run.plan, row.key[:8]) == row
    with pytest.raises(BadCall, match=f"'{row.id[:6]}': 0 rows of the run have such a key, expected one, such as "):
        find_row(run.plan, row.id[:6])


def test_an_unknown_row_is_refused(run: StoredRun, capsys: pytest.CaptureFixture[str]) -> None:
    for key in ("zz", ""):
        capsys.readouterr()
        assert zeroulp(["parity", str(run.folder), "--check", f"{key}:graph:before"]) == 2


def test_the_id_of_a_test_runs_that_test(tmp_path: Path) -> None:
    """As a failure prints it."""
    node = "suites/kernels/test_add.py::test_shapes[host-3-5-False-None]"
    program = "import sys; from harness.cli.main import zeroulp; sys.exit(zeroulp(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "parity", "--check", node, "--device", "host", "-n", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["checks"] == {
        "passed": 1, "failed": 0, "error": 0, "not applicable": 0, "skipped": 0,
    }  # fmt: skip


def test_an_id_that_no_test_has_is_a_bad_call(capfd: pytest.CaptureFixture[str]) -> None:
    """And not "cannot tell": nothing is uncertain about it."""
    node = "suites/kernels/test_add.py::test_in_place[nothing]"
    assert zeroulp(["parity", "--check", node, "-n", "2"]) == 2
    out, err = capfd.readouterr()
    assert f"zeroulp: check '{node}': no test of the suites has this id" in err
    assert out == ""


def test_the_example_of_the_help_is_there() -> None:
    from harness.cli.parity import parity

    (line,) = [line for line in (parity.help or "").splitlines() if "::" in line]
    node = shlex.split(line)[-1]
    command = [sys.executable, "-m", "pytest", "-n", "0", "--collect-only", "-q", node]
    root = package_folder("suites").parent
    assert subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 0


def test_a_run_without_checks_offers_none_to_make_again(
    run: StoredRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("environment.json", "plan.json"):
        (tmp_path / name).write_bytes((run.folder / name).read_bytes())
    (tmp_path / "rows.jsonl").touch()
    capsys.readouterr()
    assert zeroulp(["parity", str(tmp_path)]) == 3
    assert capsys.readouterr().out.startswith("CANNOT TELL: no check was made; ")


def test_a_row_that_failed_names_the_check() -> None:
    failed = Check(name="graph = direct", when="after", status="failed", reason="1 of 9 values differ")
    proven = Proven(key="3f2a", measured=cast(Measured, None), proof=(failed,), engaged={}, memory_bytes=0, spent={})
    assert proven.verdict == (
        "parity_failed", "graph = direct (after): 1 of 9 values differ [check 3f2a:graph:after]",
    )  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_there_and_back(word: str, when: Any) -> None:
    check = Check(name=WORDS[word], when=when, status="passed")
    found = parse_check_id(check_id("3f2a", check))
    assert (found.key, found.name, found.when) == ("3f2a", check.name, when)


@pytest.mark.parametrize("text", ["", "a", "a:graph", "a:graph:", "a:graph:never", ":graph:before", "a:b:before:c"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(BadCall, match="expected KEY:CHECK:WHEN"):
        parse_check_id(text)


def test_a_prover_of_one_check_opens_one_twin() -> None:
    toggles: dict[str, str | int] = {"chunk": 128, "graph": "on", "prefill": "batched", "pdl": "on", "kv": "f16"}
    opened: list[dict[str, str | int]] = []

    def open_twin(twin: Any) -> FakeEngine:
        opened.append(dict(twin))
        return FakeEngine(twin)

    prover = Prover(
        engine=FakeEngine(toggles),
        toggles=toggles,
        open_twin=open_twin,
        tokens=proof_tokens(VOCAB, prefilled=4, decoded=2),
        oracle=lambda logits: pytest.fail("no oracle was asked for"),
        has_pdl=True,
        only="batched = sequential",
    )
    assert [check.name for check in prover.checks("before")] == ["batched = sequential"]
    assert [twin["prefill"] for twin in opened] == ["sequential"]
