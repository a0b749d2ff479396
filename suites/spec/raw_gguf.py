"""GGUF bytes written by hand, so that they can be wrong in any way; the data are zeros."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from reference.spec.layout import WEIGHT_TYPES
from reference.synth import TINY
from reference.synth.plan import plan_metadata, plan_tensors

Value = np.generic | str | list["Value"]
SHAPE = replace(TINY, layers=2, dim=64, ff=96, heads=2, kv_heads=1, head_dim=32, vocab=50)

_KINDS = {"B": 0, "b": 1, "H": 2, "h": 3, "I": 4, "i": 5, "f": 6, "?": 7, "L": 10, "Q": 10, "l": 11, "q": 11, "d": 12}


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def kind(value: Value) -> int:
    if isinstance(value, str):
        return 8
    return 9 if isinstance(value, list) else _KINDS[value.dtype.char]


def payload(value: Value) -> bytes:
    if isinstance(value, str):
        return string(value)
    if isinstance(value, list):
        return struct.pack("<IQ", kind(value[0]), len(value)) + b"".join(payload(item) for item in value)
    return value.tobytes()


def default_metadata() -> dict[str, Value]:
    """What a small qwen3 has, plus a vocabulary."""
    metadata: dict[str, Value] = {
        entry.key: entry.value if isinstance(entry.value, str) else np.dtype(entry.kind).type(entry.value)
        for entry in plan_metadata(SHAPE, name="raw", quant="F32", seed=0)
    }
    metadata["tokenizer.ggml.tokens"] = [f"token {i}" for i in range(SHAPE.vocab)]
    return metadata


def default_tensors() -> dict[str, tuple[tuple[int, ...], int]]:
    """Name -> shape and ggml type id."""
    return {
        tensor.name: (tensor.shape, WEIGHT_TYPES[tensor.type].ggml_id) for tensor in plan_tensors(SHAPE.spec(), "F32")
    }


def write_model(
    path: Path,
    metadata: Mapping[str, Value | None] | None = None,
    tensors: Mapping[str, tuple[tuple[int, ...], int] | None] | None = None,
) -> Path:
    """A whole file: the default model with some metadata and tensors added, replaced, or (None) left out."""
    values = {key: value for key, value in (default_metadata() | dict(metadata or {})).items() if value is not None}
    infos = {name: info for name, info in (default_tensors() | dict(tensors or {})).items() if info is not None}
    header = struct.pack("<4sIQQ", b"GGUF", 3, len(infos), len(values))
    for key, value in values.items():
        header += string(key) + struct.pack("<I", kind(value)) + payload(value)
    offset = 0
    for name, (shape, type_id) in infos.items():
        header += string(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
        header += struct.pack("<IQ", type_id, offset)
        offset += -(-int(np.prod(shape)) * 4 // 32) * 32
    path.write_bytes(header + bytes(-len(header) % 32 + offset))
    return path
