"""Kernels are compiled once for a given content, in parallel, and a file that does not compile spoils no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.device import DeviceError
from engine.devices.cuda import cubins
from engine.devices.cuda.cubins import Cubins, source_key
from engine.devices.cuda.nvrtc import PORTABLE, Compiled, Source, read_sources

GOOD = Source(name="good.cu", text="good", headers={"portable.cuh": "one"})
BAD = Source(name="bad.cu", text="bad", headers={"portable.cuh": "one"})


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a compiler in NVRTC's place was called for."""
    calls: list[str] = []

    def compile_source(source: Source, *, architecture: str, options: tuple[str, ...]) -> Compiled:
        calls.append(source.name)
        if source.text == "bad":
            raise DeviceError("bad.cu does not compile")
        return Compiled(cubin=f"{source.text} for {architecture}".encode(), ptx="", log="")

    monkeypatch.setattr(cubins, "compile_source", compile_source)
    monkeypatch.setattr(cubins, "nvrtc_version", lambda: "13.0")
    return calls


def _cubins(folder: Path, **sources: Source) -> Cubins:
    return Cubins(sources, architecture="sm_90", cache_dir=folder)


def test_second_time_comes_from_the_cache(tmp_path: Path, compiled: list[str]) -> None:
    assert _cubins(tmp_path, good=GOOD)["good"] == b"good for sm_90"
    assert _cubins(tmp_path, good=GOOD)["good"] == b"good for sm_90"
    assert compiled == ["good.cu"]
    assert [path.suffix for path in tmp_path.iterdir()] == [".cubin"]


def test_everything_that_matters_is_in_the_key(monkeypatch: pytest.MonkeyPatch, compiled: list[str]) -> None:
    keys = {
        source_key(GOOD, "sm_90"),
        source_key(GOOD, "sm_100"),
        source_key(replace(GOOD, text="good "), "sm_90"),
        source_key(replace(GOOD, headers={"portable.cuh": "two"}), "sm_90"),
        source_key(replace(GOOD, headers={"other.cuh": "one"}), "sm_90"),
    }
    monkeypatch.setattr(cubins, "nvrtc_version", lambda: "13.1")
    keys.add(source_key(GOOD, "sm_90"))
    keys.add(source_key(GOOD, "sm_90", PORTABLE))
    assert len(keys) == 7


def test_a_bad_file_spoils_no_other(tmp_path: Path, compiled: list[str]) -> None:
    both = _cubins(tmp_path, bad=BAD, good=GOOD)
    assert both["good"] == b"good for sm_90"
    with pytest.raises(DeviceError, match=r"bad\.cu does not compile"):
        both["bad"]
    with pytest.raises(DeviceError, match=r"bad\.cu does not compile"):
        both.precompile()
    assert sorted(compiled) == ["bad.cu", "good.cu"]


def test_unknown_module(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"module absent: no kernel file absent\.cu"):
        _cubins(tmp_path, good=GOOD)["absent"]


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path, compiled: list[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    assert _cubins(blocked / "cubins", good=GOOD)["good"] == b"good for sm_90"


def test_headers_of_every_folder_are_seen_and_names_are_unique(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, name in ((first, "a"), (second, "b")):
        folder.mkdir()
        (folder / f"{name}.cu").write_text(name)
    (first / "shared.cuh").write_text("header")
    sources = read_sources((first, second))
    assert sorted(sources) == ["a", "b"]
    assert sources["b"].headers == {"shared.cuh": "header"}
    (second / "a.cu").write_text("again")
    with pytest.raises(DeviceError, match="module a"):
        read_sources((first, second))
