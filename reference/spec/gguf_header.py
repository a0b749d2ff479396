"""The bytes before the tensor data of a GGUF file (version 3): counts, metadata, tensor table.

Layout: magic "GGUF", u32 version, u64 tensor count, u64 key count; per key a string, an i32 value type and the value;
per tensor a name, u32 number of dimensions, u64 dimensions (fastest first), i32 ggml type, u64 offset from the start of
the data. A string is a u64 length and its bytes. Nothing is allocated before the bytes that justify it have been seen.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from struct import Struct
from struct import error as StructError

from reference.spec.errors import BadInput
from reference.spec.layout import TYPE_NAMES, WEIGHT_TYPES

LONGEST_NAME = 1024
LONGEST_STRING = 1 << 26
LONGEST_KEPT_ARRAY = 1024
MAX_DIMENSIONS = 4

_U32, _U64 = Struct("<I"), Struct("<Q")
_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS: Mapping[int, tuple[str, Struct]] = {
    0: ("uint8", Struct("<B")),
    1: ("int8", Struct("<b")),
    2: ("uint16", Struct("<H")),
    3: ("int16", Struct("<h")),
    4: ("uint32", _U32),
    5: ("int32", Struct("<i")),
    6: ("float32", Struct("<f")),
    _BOOL: ("bool", Struct("<B")),
    10: ("uint64", _U64),
    11: ("int64", Struct("<q")),
    12: ("float64", Struct("<d")),
}


@dataclass(frozen=True, kw_only=True)
class SkippedArray:
    """An array of more than LONGEST_KEPT_ARRAY elements (a vocabulary, say), of which only this is kept."""

    element_type: str
    count: int


Scalar = bool | int | float | str
MetaValue = Scalar | tuple[Scalar, ...] | SkippedArray


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One line of the tensor table. `type` may be an unsupported one; then nbytes is 0 and nothing can be read."""

    name: str
    type: str
    shape: tuple[int, ...]  # numpy order, slowest first: (out, in) for a matrix
    offset: int  # of the first byte, from the start of the file
    nbytes: int


def kind_of(value: MetaValue) -> str:
    """The word for a metadata value in an error text."""
    if isinstance(value, SkippedArray):
        return f"an array of {value.count} {value.element_type}"
    if isinstance(value, tuple):
        return f"an array of {len(value)}"
    if isinstance(value, str):
        return f"{value[:60]!r}"
    return repr(value)


class HeaderReader:
    """A cursor over the mapped file. Every method raises BadInput on a fault, whatever the bytes are."""

    def __init__(self, path: str, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._size = len(data)
        self._position = 0

    @property
    def position(self) -> int:
        return self._position

    def fault(self, what: str) -> BadInput:
        return BadInput(f"{self._path}: {what}")

    def _truncated(self, reading: str) -> BadInput:
        return self.fault(f"truncated: the file ends (at byte {self._size}) inside {reading}")

    def _scalar(self, form: Struct, reading: str) -> int | float:
        start = self._position
        if start + form.size > self._size:
            raise self._truncated(reading)
        self._position = start + form.size
        value: int | float = form.unpack_from(self._data, start)[0]
        return value

    def _count(self, form: Struct, reading: str) -> int:
        return int(self._scalar(form, reading))

    def _bytes(self, length: int, reading: str) -> bytes:
        start = self._position
        if length > self._size - start:
            raise self._truncated(reading)
        self._position = start + length
        return self._data[start : start + length]

    def _name(self, reading: str) -> str:
        at = self._position
        length = self._count(_U64, reading)
        if not 1 <= length <= LONGEST_NAME:
            raise self.fault(f"{reading} at byte {at} is {length} bytes long, expected 1 to {LONGEST_NAME}")
        try:
            return self._bytes(length, reading).decode("utf-8")
        except UnicodeDecodeError:
            raise self.fault(f"{reading} at byte {at} is not UTF-8") from None

    def counts(self) -> tuple[int, int]:
        """Check magic and version; return (tensors, keys)."""
        if self._data[:4] != b"GGUF"[: self._size] or self._size == 0:
            raise self.fault("not a GGUF file (it does not begin with the letters GGUF)")
        self._position = 4
        version = self._count(_U32, "the version")
        if version & 0xFFFF == 0 and version:
            raise self.fault("a big-endian GGUF file; only little-endian files are supported")
        if version != 3:
            raise self.fault(f"GGUF version {version}; only version 3 is supported")
        tensors, keys = self._count(_U64, "the tensor count"), self._count(_U64, "the key count")
        for count, least, what in ((keys, 13, "metadata keys"), (tensors, 32, "tensors")):
            if count > self._size // least:
                raise self.fault(f"{count} {what} cannot fit in a file of {self._size} bytes")
        return tensors, keys

    def metadata(self, keys: int) -> dict[str, MetaValue]:
        values: dict[str, MetaValue] = {}
        for _ in range(keys):
            key = self._name("a metadata key")
            if key in values:
                raise self.fault(f"metadata key {key!r} is there twice")
            values[key] = self._value(f"metadata {key!r}")
        return values

    def _value(self, reading: str) -> MetaValue:
        kind = self._count(_U32, reading)
        if kind == _ARRAY:
            return self._array(reading)
        return self._element(kind, reading)

    def _element(self, kind: int, reading: str) -> Scalar:
        if kind == _STRING:
            length = self._count(_U64, reading)
            if length > LONGEST_STRING and self._position + length <= self._size:
                raise self.fault(f"{reading} is a string of {length} bytes, expected at most {LONGEST_STRING}")
            return self._bytes(length, reading).decode("utf-8", errors="replace")
        if kind not in _SCALARS:
            raise self.fault(f"{reading} has the unknown value type {kind}")
        value = self._scalar(_SCALARS[kind][1], reading)
        return bool(value) if kind == _BOOL else value

    def _array(self, reading: str) -> MetaValue:
        kind, count = self._count(_U32, reading), self._count(_U64, reading)
        if kind != _STRING and kind not in _SCALARS:
            raise self.fault(f"{reading} is an array of the unsupported element type {kind}")
        width = 8 if kind == _STRING else _SCALARS[kind][1].size
        if count * width > self._size - self._position:
            raise self.fault(f"truncated: {reading} claims {count} elements, more than the rest of the file holds")
        if count <= LONGEST_KEPT_ARRAY:
            return tuple(self._element(kind, reading) for _ in range(count))
        if kind == _STRING:
            self._skip_strings(count, reading)
            return SkippedArray(element_type="string", count=count)
        self._position += count * width
        return SkippedArray(element_type=_SCALARS[kind][0], count=count)

    def _skip_strings(self, count: int, reading: str) -> None:
        """Step over `count` strings. This loop must be tight: a vocabulary and its merges are 300 000 strings."""
        length_at, data, position = _U64.unpack_from, self._data, self._position
        try:
            for _ in range(count):
                position += 8 + length_at(data, position)[0]
        except (StructError, OverflowError, ValueError):
            raise self._truncated(reading) from None
        if position > self._size:
            raise self._truncated(reading)
        self._position = position

    def tensors(self, count: int) -> list[TensorInfo]:
        """The tensor table with offsets still from the start of the data."""
        return [self._tensor(index) for index in range(count)]

    def _tensor(self, index: int) -> TensorInfo:
        reading = f"entry {index} of the tensor table"
        name = self._name(f"the name in {reading}")
        reading = f"tensor {name!r}"
        dimensions = self._count(_U32, reading)
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise self.fault(f"{reading} has {dimensions} dimensions, expected 1 to {MAX_DIMENSIONS}")
        shape = tuple(self._count(_U64, reading) for _ in range(dimensions))[::-1]
        if not all(1 <= size < 2**63 for size in shape):
            raise self.fault(f"{reading} has the impossible shape {shape}")
        kind, offset = self._count(_U32, reading), self._count(_U64, reading)
        type_name = TYPE_NAMES.get(kind, f"number {kind}")
        nbytes = self._nbytes(name, type_name, shape)
        return TensorInfo(name=name, type=type_name, shape=shape, offset=offset, nbytes=nbytes)

    def _nbytes(self, name: str, type_name: str, shape: tuple[int, ...]) -> int:
        weight_type = WEIGHT_TYPES.get(type_name)
        if weight_type is None:
            return 0
        try:
            return prod(shape[:-1]) * weight_type.row_bytes(shape[-1])
        except ValueError as error:
            raise self.fault(f"tensor {name!r}: {error}") from None
