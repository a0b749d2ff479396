"""Records of earlier versions of the schema, brought to this one. Old data is never rejected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from harness.schema import SCHEMA, Record

T = TypeVar("T", bound=Record)
S = TypeVar("S", bound=msgspec.Struct)
Fields = dict[str, Any]


def _from_1(fields: Fields) -> Fields:
    """Version 2 added fields with defaults, a status and the keys of rows, which are computed from what was there."""
    return {**fields, "schema": 2}


UPGRADES: Mapping[int, Callable[[Fields], Fields]] = {1: _from_1}  # from each version to the next


class _Version(msgspec.Struct):
    schema: int


@cache
def _decoder(kind: type[S]) -> msgspec.json.Decoder[S]:
    """Made once: a store has as many lines as it likes."""
    return msgspec.json.Decoder(kind)


def decode(data: bytes, kind: type[T]) -> T:
    """A stored record of any version so far. Raises msgspec.MsgspecError, naming a version that is not known."""
    version = _decoder(_Version).decode(data).schema
    if version == SCHEMA:
        record: T = _decoder(kind).decode(data)
        return record
    if version not in UPGRADES:
        raise msgspec.ValidationError(f"schema {version}, expected 1 to {SCHEMA}")
    fields: Fields = msgspec.json.decode(data)
    while version in UPGRADES:
        fields = UPGRADES[version](fields)
        version += 1
    return msgspec.convert(fields, kind)
