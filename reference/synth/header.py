"""The bytes of a GGUF version 3 header, as the gguf package's writer makes them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal

from reference.spec.layout import WEIGHT_TYPES

ALIGNMENT = 32

_VALUE_TYPES = {"uint32": 4, "float32": 6, "string": 8, "strings": 9, "uint64": 10}
_FORMATS = {"uint32": "<I", "float32": "<f", "uint64": "<Q"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of metadata."""

    key: str
    kind: Literal["uint32", "uint64", "float32", "string", "strings"]
    value: int | float | str | tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PlannedTensor:
    """A tensor to be written: values of this mean and standard deviation."""

    name: str
    type: str
    shape: tuple[int, ...]  # numpy order
    mean: float
    std: float

    @property
    def nbytes(self) -> int:
        return prod(self.shape[:-1]) * WEIGHT_TYPES[self.type].row_bytes(self.shape[-1])


def aligned(size: int) -> int:
    """Rounded up to the alignment of tensor data."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def header_bytes(entries: Sequence[Entry], tensors: Sequence[PlannedTensor]) -> bytes:
    """Everything before the tensor data, padded. Tensors follow in this order, each padded to the alignment."""
    out = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(entries)))
    for entry in entries:
        out += _string(entry.key) + struct.pack("<I", _VALUE_TYPES[entry.kind]) + _value(entry)
    offset = 0
    for tensor in tensors:
        dimensions = tensor.shape[::-1]
        out += _string(tensor.name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        out += struct.pack("<IQ", WEIGHT_TYPES[tensor.type].ggml_id, offset)
        offset += aligned(tensor.nbytes)
    return bytes(out).ljust(aligned(len(out)), b"\0")


def _string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(entry: Entry) -> bytes:
    if entry.kind == "string":
        return _string(str(entry.value))
    if isinstance(entry.value, tuple):
        head = struct.pack("<IQ", _VALUE_TYPES["string"], len(entry.value))
        return head + b"".join(map(_string, entry.value))
    return struct.pack(_FORMATS[entry.kind], entry.value)
