"""`zeroulp diverge` from the command line: another commit, tapes across processes, a saved op, bad calls."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from suites.conftest import not_applicable
from suites.models import Models
from suites.selftest.planting import Fault, scratch_copy

TOKENS = ("--tokens", "3,4,5,6", "-n", "2")
SWAPPED = Fault(
    name="swiglu-of-layer-2-swaps-its-inputs",
    file="engine/families/qwen3.py",
    old="        swiglu(stream, gate, up, out=gate)",
    new="        swiglu(stream, *((up, gate) if i == 2 else (gate, up)), out=gate)",
    checks=(),
)
SUBTRACTS = Fault(
    name="add-subtracts",
    file="engine/kernels/add.cu",
    old="sums[u] = __fadd_rn(",
    new="sums[u] = __fsub_rn(",
    checks=(),
)


def zeroulp(*words: str, tree: Path | None = None, cwd: Path) -> tuple[int, str, str]:
    """Exit code and both outputs of a process of its own, with the code of `tree`."""
    program = "import sys; from harness.cli.main import zeroulp; sys.exit(zeroulp(sys.argv[1:]))"
    environment = {**os.environ, **({"PYTHONPATH": str(tree)} if tree is not None else {})}
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def model(models: Models, tmp_path_factory: pytest.TempPathFactory) -> str:
    source = Path(models.tiny("Q8_0").file.path)
    return str(shutil.copy(source, tmp_path_factory.mktemp("model") / "tiny.gguf"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as a checkout whose last commit has a planted fault, and the branch `kernel` one in a kernel."""
    if shutil.which("git") is None:
        not_applicable("no git on this machine")
    tree = scratch_copy(tmp_path_factory.mktemp("checkout"))

    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=tree, check=True, capture_output=True)

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "good")
    git("branch", "good")
    git("checkout", "-q", "-b", "kernel")
    SUBTRACTS.plant(tree)
    git("commit", "-q", "-a", "-m", "another kernel")
    git("checkout", "-q", "-b", "bad", "good")
    SWAPPED.plant(tree)
    git("commit", "-q", "-a", "-m", "bad")
    return tree


def test_another_commit_is_run_and_the_op_named(repository: Path, model: str, tmp_path: Path) -> None:
    """What the fault changes shows in the single operations; the commit before it is right."""
    sides = "HEAD~1@host:fused=off", "host:fused=off"
    code, out, err = zeroulp("diverge", *sides, model, *TOKENS, "--json", tree=repository, cwd=tmp_path)
    assert code == 1, err
    result = json.loads(out)
    where = result["where"]
    assert (where["step"], where["row"], where["layer"], where["tap"]) == (0, 0, 2, "swiglu")
    assert where["left_op"] == where["right_op"] == "swiglu on host"
    assert where["element"]["differing"] > 0
    code, out, _ = zeroulp("diverge", "--replay", result["folder"], tree=repository, cwd=tmp_path)
    assert code == 1
    assert out.count("the row of the run again") == 2
    code, out, _ = zeroulp("diverge", "HEAD~1@host", "oracle", model, *TOKENS, tree=repository, cwd=tmp_path)
    assert code == 0
    assert out.startswith("EQUAL: HEAD~1@host and oracle")


def test_the_op_of_a_commit_is_run_again_by_its_own_code(repository: Path, model: str, tmp_path: Path) -> None:
    sides = "kernel@host:fused=off", "HEAD~1@host:fused=off"
    code, out, err = zeroulp("diverge", *sides, model, *TOKENS, "--json", tree=repository, cwd=tmp_path)
    assert code == 1, err
    assert json.loads(out)["where"]["left_op"] == "add on host"
    code, out, _ = zeroulp("diverge", "--replay", json.loads(out)["folder"], tree=repository, cwd=tmp_path)
    assert code == 1, out
    assert out.count("the row of the run again") == 2
    assert "DIFFERS: element" in out


def test_the_printed_line_shows_the_difference_again(repository: Path, model: str, tmp_path: Path) -> None:
    code, out, _ = zeroulp("diverge", "host:fused=off", "oracle", model, *TOKENS, tree=repository, cwd=tmp_path)
    assert code == 1
    assert "differ first at step 0, row 0 (position 0), layer 2, swiglu" in out
    element = next(line for line in out.splitlines() if "element" in line).strip()
    again = next(line for line in out.splitlines() if line.startswith("  again: ")).removeprefix("  again: zeroulp ")
    code, replayed, _ = zeroulp(*shlex.split(again), tree=repository, cwd=tmp_path)
    assert code == 1
    assert replayed.splitlines()[-1] == f"DIFFERS: {element}"


def test_tapes_across_processes(repository: Path, model: str, tmp_path: Path) -> None:
    for name, tokens in (("long", "3,4,5,6,7"), ("short", "3,4,5"), ("other", "3,4,9,6,7")):
        words = ("diverge", "--record", f"{name}.npz", "host:fused=off", model, "--tokens", tokens, "-n", "1")
        assert zeroulp(*words, cwd=tmp_path)[0] == 0
    words = ("diverge", "--record", "bad.npz", "host:fused=off", model, "--tokens", "3,4,5,6,7", "-n", "1")
    assert zeroulp(*words, tree=repository, cwd=tmp_path)[0] == 0
    code, out, _ = zeroulp("diverge", "short.npz", "long.npz", cwd=tmp_path)
    assert code == 0
    assert "short.npz ends after position 2, the other goes on to 4" in out
    assert zeroulp("diverge", "other.npz", "long.npz", cwd=tmp_path)[0] == 3
    code, out, _ = zeroulp("diverge", "long.npz", "bad.npz", cwd=tmp_path)
    assert code == 1
    assert "step 0, row 0 (position 0), layer 2, swiglu" in out
    assert out.count("made by swiglu") == 2
    code, out, _ = zeroulp("diverge", "long.npz", "oracle", model, cwd=tmp_path)
    assert code == 0, out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "words given: 0, expected A B MODEL, or the files of two tapes"),
        (("host", "nothing", "m.gguf"), "'nothing': expected ideal, oracle, host or cuda"),
        (("host", "oracle", "m.gguf"), "m.gguf: cannot be read"),
        (("no.npz", "host", "m.gguf"), "no.npz: cannot read"),
        (("host", "oracle", "m.gguf", "--tokens", "1", "--prompt-length", "3"), "give the tokens with one of"),
        (("host", "oracle", "m.gguf", "--shared"), "--shared: is for --ulps"),
        (("--replay", "nowhere"), "nowhere: not a saved divergence"),
        (("--record", "t.npz", "host"), "words given: 1, expected A MODEL with --record"),
    ],
)
def test_a_bad_call_is_one_line(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code, out, err = zeroulp("diverge", *words, cwd=tmp_path)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
