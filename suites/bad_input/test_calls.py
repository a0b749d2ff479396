"""Bad options, tokens, toggles, places: one line, exit code 2, nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reference.synth import SynthShape, synth_shape
from suites.bad_input.conftest import Refused

OUT = ("-o", "out.npy")
HOST = ("--engine", "host")


@pytest.mark.parametrize("engine", ["ideal", "oracle", "host"])
@pytest.mark.parametrize(("tokens", "word"), [("1,512", "512"), ("-1", "-1"), ("1,2,99999999999999999999", "99999")])
def test_a_token_outside_the_vocabulary(refused: Refused, tiny: Path, engine: str, tokens: str, word: str) -> None:
    line = refused("logits", tiny, f"--tokens={tokens}", "--engine", engine, *OUT)
    assert f"token id {word}" in line
    assert "vocabulary" in line


@pytest.mark.parametrize("tokens", ["", ",", "one", "1;2", "1.5", "0x10", "1_2", "\u0661\u0662", "0" * 30 + "12"])
def test_tokens_that_are_none(refused: Refused, tiny: Path, tokens: str) -> None:
    assert "--tokens" in refused("logits", tiny, "--tokens", tokens, *HOST, *OUT)


def test_the_model_is_not_written_over(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    content = tiny.read_bytes()
    (tmp_path / "same.gguf").symlink_to(tiny)
    for output in (tiny, tmp_path / "same.gguf"):
        assert "is the model itself" in refused("logits", tiny, "--tokens", "1", *HOST, "-o", output)
    assert tiny.read_bytes() == content


def test_tokens_from_a_file(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    assert "nowhere.txt" in refused("logits", tiny, "--tokens-file", "nowhere.txt", *HOST, *OUT)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not a text file" in refused("logits", tiny, "--tokens-file", binary, *HOST, *OUT)
    words = tmp_path / "words"
    words.write_text("1 2 three")
    assert "'three' is not a token id" in refused("logits", tiny, "--tokens-file", words, *HOST, *OUT)


def test_tokens_given_twice_or_not_at_all(refused: Refused, tiny: Path) -> None:
    assert "either --tokens" in refused("logits", tiny, *HOST, *OUT)
    assert "either --tokens" in refused("logits", tiny, "--tokens", "1", "--tokens-file", "x", *HOST, *OUT)


@pytest.mark.parametrize("engine", ["oracle", "host"])
def test_context_exceeded(refused: Refused, tiny: Path, engine: str) -> None:
    line = refused("logits", tiny, "--tokens", "1,2,3", "--context", "2", "--engine", engine, *OUT)
    assert "the context holds 2" in line
    line = refused("generate", tiny, "--tokens", "1,2,3", "-n", "4", "--context", "5", "--engine", engine)
    assert "the context holds 5" in line


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("grahp=off", ("unknown toggle 'grahp'", "graph")),
        ("graph=maybe", ("toggle graph", "'maybe'", "on | off")),
        ("graph", ("expected name=value",)),
        ("chunk=0", ("toggle chunk", "at least 1")),
        ("chunk=many", ("toggle chunk", "'many'")),
        ("kv=q4", ("toggle kv", "f32 | f16")),
    ],
)
def test_a_bad_toggle(refused: Refused, tiny: Path, setting: str, words: tuple[str, ...]) -> None:
    line = refused("generate", tiny, "--tokens", "1", "-n", "1", *HOST, "--set", setting)
    for word in words:
        assert word in line


def test_a_toggle_twice(refused: Refused, tiny: Path) -> None:
    call = ("generate", tiny, "--tokens", "1", "-n", "1", *HOST, "--set", "kv=f16", "--set", "kv=f32")
    assert "toggle kv: given twice" in refused(*call)


@pytest.mark.parametrize(("engine", "setting"), [("oracle", "graph=off"), ("ideal", "kv=f32")])
def test_a_toggle_that_the_oracle_does_not_know(refused: Refused, tiny: Path, engine: str, setting: str) -> None:
    line = refused("logits", tiny, "--tokens", "1", "--engine", engine, "--set", setting, *OUT)
    assert setting.partition("=")[0] in line
    assert engine in line


def test_places_that_cannot_be_written(refused: Refused, tiny: Path, tmp_path: Path) -> None:
    assert "does not exist" in refused("logits", tiny, "--tokens", "1", *HOST, "-o", "no/such/folder.npy")
    assert "is a folder" in refused("logits", tiny, "--tokens", "1", *HOST, "-o", tmp_path)
    assert "does not exist" in refused("synth", "qwen3-tiny", "--quant", "Q8_0", "-o", "no/such/folder.gguf")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("synth", "qwen9", "--quant", "Q8_0"), "qwen3-tiny"),
        (("synth", "qwen3-tiny", "--quant", "Q3_X"), "Q4_K_M"),
        (("synth", "qwen3-tiny", "--quant", "Q8_0", "--seed", "-1"), "seed -1"),
        (("synth", "qwen3-odd", "--quant", "Q5_K_M"), "Q5_1"),
    ],
)
def test_models_that_cannot_be_made(refused: Refused, arguments: tuple[str, ...], word: str) -> None:
    assert word in refused(*arguments, "-o", "out.gguf")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("frobnicate",), "frobnicate"),
        (("logits",), "MODEL"),
        (("logits", "x.gguf", "--frob"), "--frob"),
        (("generate", "x.gguf", "--tokens", "1", "-n", "0", "--engine", "host"), "-n"),
        (("generate", "x.gguf", "--tokens", "1", "-n", "1", "--engine", "tpu"), "tpu"),
        (("report", "no/such/run"), "not a run folder"),
        (("parity", "no_such_suite"), "bad_input"),
        (("parity", "../.."), "expected one of"),
        (("bench", "allrows", "--device", "tpu"), "tpu"),
        (("bench", "allrows", "--resume", "no/such/run"), "not a run folder"),
        (("bench", "allrows", "--resume", "x", "--device", "host"), "give it alone"),
        (("bench", "allrows", "nowhere.toml"), "nowhere.toml"),
        (("bench", "allrows", "--where", "qant == 1", "--device", "host"), "unknown field 'qant'"),
        (("bench", "allrows", "--where", 'quant == "Q9"', "--device", "host"), "none of the 48 rows"),
    ],
)
def test_calls_that_make_no_sense(refused: Refused, arguments: tuple[str, ...], word: str) -> None:
    assert word in refused(*arguments)


def test_a_fault_in_a_matrix_names_file_and_line(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('schema = 1\n[[group]]\nmodels = ["qwen3-tiny"\n')
    assert "mine.toml line 3: " in refused("bench", "allrows", path, "--device", "host")
    path.write_text(
        'schema = 1\n[[group]]\nmodels = ["x.gguf"]\nshapes = [{ prompt = 1, generated = 1, context = 1 }]\n'
    )
    assert "mine.toml line 4: " in refused("bench", "allrows", path, "--device", "host")


def test_a_matrix_of_a_file_that_is_no_model(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'schema = 1\n[[group]]\nmodels = ["x.gguf"]\nshapes = [{ prompt = 1, generated = 1, context = 2 }]\n'
    )
    assert "x.gguf" in refused("bench", "allrows", path, "--device", "host")


def test_results_that_cannot_be_written(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "results folder" in refused("bench", "allrows", "--device", "host", "--out", tmp_path / "file")
    assert "results folder" in refused("bench", "allrows", "--device", "host", "--out", "/proc/results")


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "tiny", "--tokens", "1", "-n", "1", *HOST),
        ("logits", "tiny", "--tokens", "1", *HOST, *OUT),
        ("bench", "allrows", "--device", "host"),
    ],
    ids=["generate", "logits", "bench allrows"],
)
def test_no_compiler(
    refused: Refused, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    line = refused(*(tiny if argument == "tiny" else argument for argument in arguments))
    assert "compiler" in line
    assert "install" in line


def test_a_context_that_the_model_does_not_have(refused: Refused, tiny: Path) -> None:
    line = refused("generate", tiny, "--tokens", "1", "-n", "1", *HOST, "--context", "8193")
    assert "8193" in line
    assert "8192 positions" in line


def test_the_oracle_has_the_context_of_the_model(refused: Refused, tiny: Path) -> None:
    for count in ("8192", "9" * 30):
        assert "8192 positions" in refused("generate", tiny, "--tokens", "1", "-n", count, "--engine", "oracle")


def test_more_memory_than_there_is(refused: Refused, tmp_path: Path) -> None:
    endless = tmp_path / "endless.gguf"
    synth_shape(SynthShape(context=2**27), name="endless", quant="Q8_0", seed=1, path=endless)
    line = refused("generate", endless, "--tokens", "1", "-n", "1", *HOST, "--context", str(2**27))
    assert "not enough memory" in line
    assert line.count("MiB") == 2  # needed and free


def test_the_cache_folder_cannot_be_written(refused: Refused, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    line = refused("bench", "allrows", "--device", "host")
    assert os.fspath(tmp_path / "file") in line
