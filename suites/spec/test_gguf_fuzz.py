"""Whatever happens to the bytes of a header, opening gives a model or one line of BadInput, and soon."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from reference.spec.errors import BadInput
from reference.spec.gguf_file import open_gguf
from reference.spec.gguf_header import LONGEST_KEPT_ARRAY
from reference.spec.model import open_model
from suites.spec.raw_gguf import write_model


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A model with an array that is kept and one that is skipped."""
    long = ["x" * (i % 3) for i in range(LONGEST_KEPT_ARRAY + 1)]
    return write_model(tmp_path / "m.gguf", {"tokenizer.ggml.merges": list(long)})


def refusal(path: Path) -> str | None:
    """The one line of BadInput; None where the file opens as a model whose tensors can all be read."""
    try:
        model = open_model(path)
        for name in model.file.tensors:
            model.tensor(name).data.sum()
    except BadInput as error:
        text = str(error)
        assert "\n" not in text
        assert len(text) < 2000
        return text
    return None


def test_truncated_anywhere(path: Path) -> None:
    start = min(info.offset for info in open_gguf(path).tensors.values())
    size = path.stat().st_size
    assert refusal(path) is None
    offsets = [*range(size - 1, start, -5003), *range(start, 0, -7), *range(200)]
    for offset in sorted(set(offsets), reverse=True):
        os.truncate(path, offset)
        text = refusal(path)
        assert text is not None, f"opened with {offset} of {size} bytes"
        assert "truncated" in text or "empty" in text or "cannot fit" in text


@pytest.mark.parametrize("seed", range(2))
def test_changed_bytes(path: Path, seed: int) -> None:
    whole = bytearray(path.read_bytes())
    random = np.random.default_rng([7, seed])
    start = min(info.offset for info in open_gguf(path).tensors.values())
    headers = np.concatenate((np.arange(3000), np.arange(start - 1800, start)))
    refused = 0
    begin = time.perf_counter()
    with path.open("r+b", buffering=0) as file:
        for _ in range(1500):
            # Long runs of plain strings are dull: look at the first 3000 bytes and the tensor table.
            places = random.choice(headers, int(random.integers(1, 4)))
            for place in places:
                file.seek(place)
                file.write(bytes([int(random.choice(np.array([0, 1, 0x7F, 0x80, 0xFF, random.integers(256)])))]))
            refused += refusal(path) is not None
            for place in places:
                file.seek(place)
                file.write(whole[place : place + 1])
    assert 300 < refused < 1500
    assert time.perf_counter() - begin < 60
    assert refusal(path) is None
