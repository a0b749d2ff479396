"""A good model file spoiled in one place. Every edit keeps the length, so that only its own fault is in the file."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

Edit = Callable[[bytes], bytes]
UINT32, STRING = 4, 8  # value types of GGUF metadata


@dataclass(frozen=True, kw_only=True)
class Spoiled:
    """What is done to the file, and words that the one line must have."""

    name: str
    edit: Edit
    words: tuple[str, ...]


def _replaced(old: bytes, new: bytes) -> Edit:
    def edit(data: bytes) -> bytes:
        assert len(old) == len(new)
        assert data.count(old) == 1, f"{old!r} occurs {data.count(old)} times"
        return data.replace(old, new)

    return edit


def _patched(offset: int, value: bytes) -> Edit:
    return lambda data: data[:offset] + value + data[offset + len(value) :]


def _key(name: str) -> bytes:
    return struct.pack("<Q", len(name)) + name.encode()


def _number(key: str, value: int) -> Edit:
    """Give a uint32 of the metadata another value."""
    head = _key(key) + struct.pack("<I", UINT32)

    def edit(data: bytes) -> bytes:
        at = data.index(head) + len(head)
        return _patched(at, struct.pack("<I", value))(data)

    return edit


def _tensor(name: str, *, shape: tuple[int, int] | None = None, type_id: int | None = None) -> Edit:
    """Give a matrix of the tensor table another shape (GGUF order) or type."""
    head = _key(name) + struct.pack("<I", 2)

    def edit(data: bytes) -> bytes:
        at = data.index(head) + len(head)
        if shape is not None:
            data = _patched(at, struct.pack("<QQ", *shape))(data)
        return data if type_id is None else _patched(at + 16, struct.pack("<I", type_id))(data)

    return edit


def _truncated(size: int) -> Edit:
    return lambda data: data[:size]


ARCHITECTURE = _key("general.architecture") + struct.pack("<IQ", STRING, 5)

SPOILED = (
    Spoiled(name="empty", edit=_truncated(0), words=("empty",)),
    Spoiled(name="cut in the magic", edit=_truncated(3), words=("truncated",)),
    Spoiled(name="cut in the counts", edit=_truncated(20), words=("truncated",)),
    Spoiled(name="cut in the metadata", edit=_truncated(200), words=("metadata", "200 bytes")),
    Spoiled(name="cut in the tensors", edit=lambda data: data[:-1000], words=("truncated",)),
    Spoiled(name="not GGUF", edit=_patched(0, b"GGML"), words=("not a GGUF file",)),
    Spoiled(name="version 1", edit=_patched(4, struct.pack("<I", 1)), words=("version 1",)),
    Spoiled(name="big-endian", edit=_patched(4, struct.pack(">I", 3)), words=("big-endian",)),
    Spoiled(
        name="other architecture",
        edit=_replaced(ARCHITECTURE + b"qwen3", ARCHITECTURE + b"llama"),
        words=("'llama'", "supported", "qwen3"),
    ),
    Spoiled(
        name="unsupported type",
        edit=_tensor("blk.0.attn_q.weight", type_id=19),
        words=("blk.0.attn_q.weight", "IQ1_S", "Q4_K"),
    ),
    Spoiled(name="unknown type", edit=_tensor("blk.0.attn_q.weight", type_id=999), words=("attn_q.weight", "999")),
    Spoiled(
        name="missing tensor",
        edit=_replaced(_key("blk.1.ffn_up.weight"), _key("blk.1.ffn_uq.weight")),
        words=("blk.1.ffn_up.weight", "missing"),
    ),
    Spoiled(
        name="misshaped tensor",
        edit=_tensor("blk.1.ffn_up.weight", shape=(512, 256)),
        words=("blk.1.ffn_up.weight", "(256, 512)", "(512, 256)"),
    ),
    Spoiled(
        name="missing key",
        edit=_replaced(_key("qwen3.block_count"), _key("qwen3.block_colnt")),
        words=("qwen3.block_count", "missing"),
    ),
    Spoiled(name="contradictory width", edit=_number("qwen3.embedding_length", 128), words=("128",)),
    Spoiled(name="contradictory heads", edit=_number("qwen3.attention.head_count", 3), words=("head_count",)),
    Spoiled(name="no heads", edit=_number("qwen3.attention.head_count", 0), words=("head_count",)),
    Spoiled(name="absurd layers", edit=_number("qwen3.block_count", 2**32 - 1), words=("block_count",)),
    Spoiled(name="absurd tensor count", edit=_patched(8, struct.pack("<Q", 2**60)), words=("tensor",)),
    Spoiled(name="absurd key count", edit=_patched(16, struct.pack("<Q", 2**60)), words=("metadata",)),
    Spoiled(name="absurd string", edit=_patched(24, struct.pack("<Q", 2**60)), words=("metadata key", str(2**60))),
)
