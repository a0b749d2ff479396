"""Typed and checked access to the metadata of one architecture; a fault names key, value and what was expected."""

from __future__ import annotations

import math
from typing import TypeGuard

from reference.spec.errors import BadInput
from reference.spec.gguf_file import GgufFile, MetaValue, SkippedArray
from reference.spec.gguf_header import kind_of

LARGEST_COUNT = 2**31 - 1  # sizes and positions are int32 on a device


class Metadata:
    """The keys `<architecture>.<key>` of a file. A missing key without a default is a fault."""

    def __init__(self, file: GgufFile, architecture: str) -> None:
        self._file = file
        self._prefix = f"{architecture}."

    def __contains__(self, key: str) -> bool:
        return self._prefix + key in self._file.metadata

    def fault(self, key: str, expected: str, value: MetaValue | None = None) -> BadInput:
        """The error for one key; `value` where the file's own is not to be shown."""
        full = self._prefix + key
        found = self._file.metadata.get(full) if value is None else value
        state = "is missing" if found is None else f"is {kind_of(found)}"
        return self._file.fault(f"metadata {full} {state}, expected {expected}")

    def count(self, key: str, *, default: int | None = None) -> int:
        """A whole number of at least 1."""
        value = self._file.metadata.get(self._prefix + key, default)
        if not _is_count(value):
            raise self.fault(key, f"a whole number from 1 to {LARGEST_COUNT}", value)
        return value

    def count_per_layer(self, key: str, layers: int, *, default: int | None = None) -> int:
        """A count that may be written once for each layer, if all layers agree."""
        value = self._file.metadata.get(self._prefix + key)
        if not isinstance(value, tuple):
            return self.count(key, default=default)
        if len(value) != layers or len(set(value)) != 1 or not _is_count(value[0]):
            raise self.fault(key, f"one positive number, or {layers} equal ones")
        return value[0]

    def number(self, key: str, *, default: float) -> float:
        """A finite number."""
        value = self._file.metadata.get(self._prefix + key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.fault(key, "a finite number")
        return float(value)

    def positive(self, key: str, *, default: float | None = None) -> float:
        """A finite number above 0 of a float type."""
        value = self._file.metadata.get(self._prefix + key, default)
        if not (isinstance(value, float) and math.isfinite(value) and value > 0):
            raise self.fault(key, "a finite float above 0", value)
        return value

    def text(self, key: str, *, default: str) -> str:
        value = self._file.metadata.get(self._prefix + key, default)
        if not isinstance(value, str):
            raise self.fault(key, "a string")
        return value

    def length_of(self, full_key: str) -> int | None:
        """Length of an array under its full name; None where there is none."""
        value = self._file.metadata.get(full_key)
        if isinstance(value, SkippedArray):
            return value.count
        return len(value) if isinstance(value, tuple) else None


def _is_count(value: MetaValue | None) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_COUNT
