"""The header reader: agrees with the gguf package, is fast on a real vocabulary, names every fault of a header."""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from reference.spec.errors import BadInput
from reference.spec.gguf_file import SkippedArray, open_gguf
from reference.spec.model import open_model
from reference.synth import synth
from suites.spec.raw_gguf import string, write_model

KEY = string("key") + struct.pack("<I", 4)
SCALAR = KEY + struct.pack("<I", 1)


def header(*, magic: bytes = b"GGUF", version: int = 3, tensors: int = 0, keys: int = 0, rest: bytes = b"") -> bytes:
    """A hand-made file; room enough behind it for any count to be believable."""
    return magic + struct.pack("<IQQ", version, tensors, keys) + rest + bytes(256)


def tensor(name: bytes = b"t", *, dims: tuple[int, ...] = (8,), type_id: int = 0, offset: int = 0) -> bytes:
    return string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, type_id, offset)


@pytest.mark.parametrize("quant", ["F32", "BF16", "Q5_0", "Q4_K_M"])
def test_agrees_with_the_gguf_package(quant: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    synth("qwen3-tiny", quant=quant, seed=3, path=path)
    ours, theirs = open_gguf(path), gguf.GGUFReader(path)
    assert list(ours.tensors) == [entry.name for entry in theirs.tensors]
    for entry in theirs.tensors:
        info = ours.tensors[entry.name]
        assert (info.type, info.shape) == (entry.tensor_type.name, tuple(int(n) for n in entry.shape[::-1]))
        assert (info.offset, info.nbytes) == (entry.data_offset, entry.n_bytes)
        assert ours.raw(entry.name).tobytes() == entry.data.tobytes()
    fields = {name: field.contents() for name, field in theirs.fields.items() if not name.startswith("GGUF.")}
    assert dict(ours.metadata) == fields


def test_rows_are_views_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    synth("qwen3-tiny", quant="Q4_K_M", seed=3, path=path)
    model = open_model(path)
    rows = model.tensor("blk.0.ffn_down.weight").data
    assert rows.shape == (256, 2 * 144)
    assert not rows.flags.writeable
    assert model.tensor("output_norm.weight").float32().shape == (256,)


def test_a_real_vocabulary_opens_fast(tmp_path: Path) -> None:
    """151 936 tokens and as many merges: the strings are stepped over, never made."""
    path = tmp_path / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_array("tokenizer.ggml.tokens", [f"token {i}" * (i % 3) for i in range(151936)])
    writer.add_array("tokenizer.ggml.token_type", list(range(151936)))
    writer.add_array("tokenizer.ggml.merges", [f"a {i}" for i in range(151387)])
    writer.add_uint32("last", 7)
    writer.add_tensor("t", np.arange(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        file = open_gguf(path)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.3
    assert file.metadata["tokenizer.ggml.tokens"] == SkippedArray(element_type="string", count=151936)
    assert file.metadata["tokenizer.ggml.token_type"] == SkippedArray(element_type="int32", count=151936)
    assert file.metadata["last"] == 7
    assert (file.raw("t").view(np.float32) == np.arange(64)).all()


HUGE = 2**62
FAULTS = {
    "not gguf": (header(magic=b"GGML"), "not a GGUF file"),
    "empty": (b"", "empty"),
    "three bytes": (b"GGU", "truncated"),
    "text": (b"hello, world\n" * 10, "not a GGUF file"),
    "version 2": (header(version=2), "version 2; only version 3"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(256), "big-endian"),
    "absurd key count": (header(keys=HUGE), "metadata keys cannot fit"),
    "absurd tensor count": (header(tensors=HUGE), "tensors cannot fit"),
    "absurd key length": (header(keys=1, rest=struct.pack("<Q", HUGE)), "bytes long"),
    "absurd string": (header(keys=1, rest=string("k") + struct.pack("<IQ", 8, HUGE)), "truncated"),
    "absurd array": (header(keys=1, rest=string("k") + struct.pack("<IIQ", 9, 4, HUGE)), "more than the rest"),
    "absurd string array": (header(keys=1, rest=string("k") + struct.pack("<IIQ", 9, 8, HUGE)), "more than the rest"),
    "array of arrays": (header(keys=1, rest=string("k") + struct.pack("<IIQ", 9, 9, 1)), "element type 9"),
    "unknown value type": (header(keys=1, rest=string("k") + struct.pack("<I", 77)), "value type 77"),
    "key is not text": (header(keys=1, rest=string(b"\xff\xfe") + SCALAR), "not UTF-8"),
    "duplicate key": (header(keys=2, rest=SCALAR * 2), "'key' is there twice"),
    "no dimensions": (header(tensors=1, rest=tensor(dims=())), "0 dimensions"),
    "five dimensions": (header(tensors=1, rest=tensor(dims=(1,) * 5)), "5 dimensions"),
    "dimension of 0": (header(tensors=1, rest=tensor(dims=(0, 4))), "impossible shape (4, 0)"),
    "negative dimension": (header(tensors=1, rest=tensor(dims=(2**64 - 1,))), "impossible shape"),
    "absurd dimensions": (header(tensors=1, rest=tensor(dims=(HUGE,) * 4)), "truncated: tensor 't'"),
    "part of a block": (header(tensors=1, rest=tensor(dims=(40,), type_id=8)), "40 weights is not a multiple of 32"),
    "misaligned": (header(tensors=1, rest=tensor(offset=4)), "not a multiple of 32"),
    "past the end": (header(tensors=1, rest=tensor(offset=2**20)), "truncated: tensor 't' ends at byte"),
    "duplicate tensor": (header(tensors=2, rest=tensor() * 2), "'t' is there twice"),
    "overlap": (header(tensors=2, rest=tensor() + tensor(b"u")), "overlap"),
    "line break in a name": (header(tensors=2, rest=tensor(b"a\nb") * 2), "'a\\nb' is there twice"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_faulty_header(case: str, tmp_path: Path) -> None:
    data, words = FAULTS[case]
    path = tmp_path / "faulty.gguf"
    path.write_bytes(data)
    with pytest.raises(BadInput) as caught:
        open_gguf(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert "\n" not in text


def test_an_absurd_string_is_not_read(tmp_path: Path) -> None:
    """A gigabyte that is there (in a sparse file) is no reason to make a gigabyte of text."""
    path = tmp_path / "m.gguf"
    path.write_bytes(header(keys=1, rest=string("k") + struct.pack("<IQ", 8, 1 << 30)))
    os.truncate(path, 1 << 31)
    with pytest.raises(BadInput, match=r"'k' is a string of 1073741824 bytes"):
        open_gguf(path)


@pytest.mark.parametrize("value", [np.uint32(0), np.uint32(48), np.float32(32), "32"])
def test_faulty_alignment(value: np.generic | str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"general.alignment": value})
    with pytest.raises(BadInput, match=r"general.alignment is .*expected a power of two"):
        open_gguf(path)


def test_another_alignment(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_custom_alignment(256)
    for name in ("t", "u"):
        writer.add_tensor(name, np.full(5, len(name), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    file = open_gguf(path)
    assert file.tensors["u"].offset - file.tensors["t"].offset == 256
    assert (file.raw("u").view(np.float32) == 1).all()


def test_part_of_a_split_model(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"split.count": np.uint16(2)})
    with pytest.raises(BadInput, match="one part of a split model"):
        open_gguf(path)
    open_gguf(write_model(tmp_path / "whole.gguf", {"split.count": np.uint16(1)}))


PLACES: dict[str, Callable[[Path], Path]] = {
    "missing": lambda folder: folder / "none.gguf",
    "folder": lambda folder: folder,
    "line break": lambda folder: folder / "a\nb",
    "null": lambda folder: folder / "a\0b",
}


@pytest.mark.parametrize("place", PLACES)
def test_not_a_readable_file(place: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        open_gguf(PLACES[place](tmp_path))
    assert "\n" not in str(caught.value)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    with pytest.raises(BadInput, match="not a regular file"):
        open_gguf(path)
