"""Calling the command line with something bad."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.main import zeroulp
from reference.synth import synth

Refused = Callable[..., str]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good model, so that the one bad thing of a call is what is refused."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    synth("qwen3-tiny", quant="Q8_0", seed=1, path=path)
    return path


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Calls `zeroulp` in an empty folder: exit code 2, one line on standard error, nothing else, nothing left."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*arguments: str | Path) -> str:
        before = sorted(tmp_path.rglob("*"))
        code = zeroulp([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert code == 2, f"exit code {code}\n{err}"
        assert out == ""
        assert err.startswith("zeroulp: ")
        assert err.endswith("\n")
        assert err.count("\n") == 1, err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return call
