"""scripts/gpu_check.sh without a GPU: what is spread, passed before, out of time, and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from suites.status import not_applicable

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu_check.sh"
UUIDS = [f"GPU-{letter * 8}-1111-2222-3333-444444444444" for letter in "abc"]
FUNCTIONS = ("refuse", "find_gpus")


@pytest.fixture(autouse=True)
def _checkout() -> None:
    if not SCRIPT.exists():
        not_applicable("the scripts are a part of the checkout, not of the package")


def tools(out: Path) -> Path:
    """A folder with an nvidia-smi that knows UUIDS."""
    folder = out / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo {uuid}\n" for uuid in UUIDS))
    (folder / "nvidia-smi").chmod(0o755)
    return folder


def check(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join((str(tools(out)), str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {**os.environ, "PATH": path, "OUT": str(out)}
    return subprocess.run(
        ["bash", str(SCRIPT), *words], capture_output=True, text=True, check=False, env=environment, timeout=300
    )


def found(out: Path, piece: str) -> dict[str, object]:
    facts: dict[str, object] = json.loads((out / f"{piece}.json").read_text())
    return facts


def test_pieces_are_spread_and_those_that_passed_are_not_run_again(tmp_path: Path) -> None:
    first = check(tmp_path, "-d", "host", "-g", "a,b", "doctor", "timing")
    assert first.returncode == 0, first.stdout + first.stderr
    assert {found(tmp_path, piece)["status"] for piece in ("doctor", "timing")} == {"passed"}
    assert {found(tmp_path, piece)["gpu"] for piece in ("doctor", "timing")} == {"a", "b"}
    again = check(tmp_path, "-d", "host", "doctor", "timing")
    assert again.returncode == 0
    assert again.stdout.count("passed before, same sources") == 2


def test_what_passed_on_the_host_has_not_passed_on_a_gpu(tmp_path: Path) -> None:
    """A pass that is left there of other sources, or of the same on another device, is none."""
    assert check(tmp_path, "-d", "host", "doctor").returncode == 0
    of_host = str(found(tmp_path, "doctor")["sources"])
    assert of_host.startswith("host-")
    left = (tmp_path / "doctor.json").read_text()
    (tmp_path / "doctor.json").write_text(left.replace(of_host, of_host.replace("host-", "cuda-")))
    again = check(tmp_path, "-d", "host", "doctor")
    assert "passed before" not in again.stdout
    assert found(tmp_path, "doctor")["sources"] == of_host


@pytest.mark.parametrize("gpus", ["0", ",".join(map(str, range(80)))])
def test_what_there_is_no_time_for_is_no_pass(tmp_path: Path, gpus: str) -> None:
    """Nor where it ends before the last of many GPUs is given something to do."""
    done = check(tmp_path, "-d", "host", "-g", gpus, "-T", "0", "doctor")
    assert done.returncode == 1
    assert found(tmp_path, "doctor")["status"] == "not run"


def test_an_archive_has_what_the_pieces_left(tmp_path: Path) -> None:
    done = check(tmp_path / "out", "-d", "host", "-z", str(tmp_path / "all" / "left.tar.gz"), "doctor", "aa-none-Q8_0")
    assert done.returncode == 1
    assert os.listdir(tmp_path / "all") == ["left.tar.gz"]
    with tarfile.open(tmp_path / "all" / "left.tar.gz") as archive:
        for piece, status in (("doctor", "passed"), ("aa-none-Q8_0", "failed")):
            packed = archive.extractfile(f"./{piece}.json")
            assert packed is not None
            assert json.load(packed)["status"] == status
            assert archive.getmember(f"./{piece}.log").size > 0


def test_a_piece_that_fails_fails_the_check(tmp_path: Path) -> None:
    done = check(tmp_path, "-d", "host", "aa-none-Q8_0")  # a model that the matrix has not
    assert done.returncode == 1
    assert (found(tmp_path, "aa-none-Q8_0")["status"], found(tmp_path, "aa-none-Q8_0")["exit_code"]) == ("failed", 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-d", "host", "nothing"), "unknown piece nothing: expected one of doctor devices"),
        (("-d", "host", "-q"), "illegal option"),
        (("-d", "host", "-T", "soon", "doctor"), "-T soon: expected a whole number of seconds"),
        (("-d", "tpu", "doctor"), "-d tpu: expected host or cuda"),
    ],
)
def test_a_bad_call_is_one_line(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = check(tmp_path, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tools"]


def find_gpus(out: Path, named: str) -> subprocess.CompletedProcess[str]:
    """The function of the script alone."""
    text = SCRIPT.read_text()
    functions = [
        f"{name}() {{{text.partition(f'{name}() {{')[2].partition(chr(10) + '}')[0]}\n}}" for name in FUNCTIONS
    ]
    call = ["gpus=()", f"find_gpus '{named}'", "printf '%s\\n' \"${gpus[@]}\""]
    environment = {**os.environ, "PATH": f"{tools(out)}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        ["bash", "-c", "\n".join([*functions, *call])], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.parametrize(("named", "expected"), [("all", UUIDS), ("2,0", [UUIDS[2], UUIDS[0]]), (UUIDS[1], UUIDS[1:2])])
def test_gpus_are_named_by_uuid(tmp_path: Path, named: str, expected: list[str]) -> None:
    done = find_gpus(tmp_path, named)
    assert (done.returncode, done.stdout.splitlines()) == (0, expected)


@pytest.mark.parametrize("named", ["3", "0,7", "GPU-x", ""])
def test_a_gpu_that_is_not_there_is_refused(tmp_path: Path, named: str) -> None:
    done = find_gpus(tmp_path, named)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"-g {named}: ")
