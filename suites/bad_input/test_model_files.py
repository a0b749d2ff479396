"""A model file with one fault: one line that names it, exit code 2, nothing written."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from suites.bad_input.conftest import Refused
from suites.bad_input.gguf_edits import SPOILED, Spoiled

CALL = ("--tokens", "1,2", "--engine", "oracle", "-o", "out.npy")


@pytest.mark.parametrize("spoiled", SPOILED, ids=lambda spoiled: spoiled.name)
def test_a_spoiled_file_is_named_with_its_fault(refused: Refused, tiny: Path, tmp_path: Path, spoiled: Spoiled) -> None:
    path = tmp_path / "spoiled.gguf"
    path.write_bytes(spoiled.edit(tiny.read_bytes()))
    line = refused("logits", path, *CALL)
    assert "spoiled.gguf" in line
    for word in spoiled.words:
        assert word in line


@pytest.mark.parametrize("size", [7, 23, 24, 31, 100, 500, 1500, 3000, 5000, 100_000])
def test_a_file_cut_anywhere_is_refused(refused: Refused, tiny: Path, tmp_path: Path, size: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.read_bytes()[:size])
    assert "cut.gguf" in refused("logits", path, *CALL)


def test_a_missing_file(refused: Refused) -> None:
    assert "nowhere.gguf" in refused("generate", "nowhere.gguf", "--tokens", "1", "-n", "1", "--engine", "host")


def test_a_folder(refused: Refused, tmp_path: Path) -> None:
    assert "regular file" in refused("logits", tmp_path, *CALL)


def test_a_pipe_is_refused_and_not_waited_for(refused: Refused, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "regular file" in refused("logits", tmp_path / "pipe.gguf", *CALL)


def test_a_name_with_a_line_break_still_gives_one_line(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "two\nlines.gguf"
    path.write_bytes(b"GGUF")
    refused("logits", path, *CALL)


@pytest.mark.parametrize("name", ["absurd layers", "absurd tensor count", "absurd key count", "absurd string"])
def test_absurd_counts_do_not_allocate(tiny: Path, tmp_path: Path, name: str) -> None:
    """In a process of its own that may take 1 GiB of memory, which is little beside what the counts ask for."""
    path = tmp_path / "absurd.gguf"
    path.write_bytes(next(spoiled for spoiled in SPOILED if spoiled.name == name).edit(tiny.read_bytes()))
    program = "import sys; from reference.spec.model import open_model; open_model(sys.argv[1])"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))

    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
        env=environment,
        timeout=20,
    )
    assert "reference.spec.errors.BadInput" in done.stderr, done.stderr
