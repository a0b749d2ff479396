"""Stored bytes to numbers: blocks written out by hand, and every type against the gguf package by bits."""

from __future__ import annotations

from collections.abc import Mapping
from zlib import crc32

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from reference.quant import dequantize_rows, q4_0, q4_k, q5_0, q5_k, q6_k, q8_0
from reference.spec.layout import TYPE_NAMES, WEIGHT_TYPES

U8 = NDArray[np.uint8]
QUANTIZED = [name for name, kind in WEIGHT_TYPES.items() if kind.quantized]
SCALES = {"ordinary": None, "subnormal": 0x0001, "largest": 0x7BFF, "zero": 0x8000, "infinite": 0xFC00, "nan": 0x7E01}


def half(value: float) -> bytes:
    return np.float16(value).tobytes()


def row(*parts: bytes) -> U8:
    return np.frombuffer(b"".join(parts), np.uint8)[None]


def random_rows(type_name: str, rows: int, blocks: int, scale_bits: int | None = None) -> U8:
    """Random bytes; where `scale_bits` is given, one block of each row has these as its float16 scales."""
    kind = WEIGHT_TYPES[type_name]
    random = np.random.default_rng(crc32(f"{type_name} {rows} {blocks}".encode()))
    data = random.integers(0, 256, (rows, blocks * kind.block_bytes), dtype=np.uint8)
    if scale_bits is not None:
        view = data.view(kind.dtype)
        for field in {"d", "dmin"} & set(kind.dtype.names or ()):
            view[field][:, blocks // 2] = np.array(scale_bits, np.uint16).view(np.float16)
    return data


def same_bits(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    nan = np.isnan(a) & np.isnan(b)
    return a.shape == b.shape and bool(((a.view(np.uint32) == b.view(np.uint32)) | nan).all())


def test_layout_agrees_with_the_gguf_package() -> None:
    for name, kind in WEIGHT_TYPES.items():
        theirs = gguf.GGMLQuantizationType[name]
        assert (kind.ggml_id, kind.block_elements, kind.block_bytes) == (theirs.value, *gguf.GGML_QUANT_SIZES[theirs])
    theirs_by_id: Mapping[int, str] = {kind.value: kind.name for kind in gguf.GGMLQuantizationType}
    assert {number: theirs_by_id[number] for number in TYPE_NAMES} == dict(TYPE_NAMES)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("type_name", QUANTIZED)
def test_dequantize_agrees_with_the_gguf_package(type_name: str, scale: str) -> None:
    data = random_rows(type_name, 61, 7, SCALES[scale])
    with np.errstate(all="ignore"):
        theirs = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[type_name])
    assert same_bits(dequantize_rows(type_name, data), theirs)


@pytest.mark.parametrize("type_name", ["F16", "BF16"])
def test_every_16_bit_float(type_name: str) -> None:
    data = np.arange(1 << 16, dtype=np.uint16).view(np.uint8)[None]
    theirs = gguf.quants.dequantize(data, gguf.GGMLQuantizationType[type_name])
    assert same_bits(dequantize_rows(type_name, data), theirs)


def test_f32_as_is() -> None:
    bits = np.random.default_rng(5).integers(0, 1 << 32, (3, 50), dtype=np.uint32)
    assert same_bits(dequantize_rows("F32", bits.view(np.uint8)), bits.view(np.float32))


def test_rows_that_are_not_contiguous() -> None:
    data = random_rows("Q6_K", 9, 2)
    wide = np.zeros((18, data.shape[1] + 3), np.uint8)
    wide[::2, :-3] = data
    assert same_bits(dequantize_rows("Q6_K", wide[::2, :-3]), dequantize_rows("Q6_K", data))


def test_q8_0_by_hand() -> None:
    blocks = q8_0.decode(row(half(0.5), np.arange(-16, 16, dtype=np.int8).tobytes()))
    assert blocks.d.tolist() == [[0.5]]
    assert blocks.codes.tolist() == [[list(range(-16, 16))]]


def test_q4_0_by_hand() -> None:
    """Byte j is element j (low) and element j + 16 (high)."""
    blocks = q4_0.decode(row(half(-2), bytes(j | (15 - j) << 4 for j in range(16))))
    assert blocks.d.tolist() == [[-2.0]]
    assert blocks.codes.tolist() == [[[j - 8 for j in range(16)] + [7 - j for j in range(16)]]]


def test_q5_0_by_hand() -> None:
    """The fifth bit of element e is bit e: here of elements 0, 9, 16 and 31."""
    fifth = (1 << 0 | 1 << 9 | 1 << 16 | 1 << 31).to_bytes(4, "little")
    blocks = q5_0.decode(row(half(1), fifth, bytes([0x21] * 16)))
    expected = [1 - 16] * 16 + [2 - 16] * 16
    for e in (0, 9, 16, 31):
        expected[e] += 16
    assert blocks.codes.tolist() == [[expected]]


def packed_scales(sc: list[int], m: list[int]) -> bytes:
    """Eight scales and minima of six bits, bit by bit from the layout's definition."""
    out = [sc[j] & 63 | (sc[j + 4] >> 4) << 6 for j in range(4)]
    out += [m[j] & 63 | (m[j + 4] >> 4) << 6 for j in range(4)]
    return bytes(out + [sc[j + 4] & 15 | (m[j + 4] & 15) << 4 for j in range(4)])


SC, M = [1, 2, 3, 63, 5, 17, 39, 62], [60, 0, 7, 33, 50, 18, 4, 41]


def test_q4_k_by_hand() -> None:
    """Chunk c of 32 bytes holds blocks 2c (low) and 2c + 1 (high): here block b has the codes (b + i) mod 16."""
    quants = bytes((2 * c + i) % 16 | (2 * c + 1 + i) % 16 << 4 for c in range(4) for i in range(32))
    blocks = q4_k.decode(row(half(0.25), half(0.125), packed_scales(SC, M), quants))
    assert blocks.codes.tolist() == [[[(b + i) % 16 for i in range(32)] for b in range(8)]]
    assert (blocks.d.tolist(), blocks.dmin.tolist()) == ([[0.25] * 8], [[0.125] * 8])
    assert (blocks.sc.tolist(), blocks.m.tolist()) == ([SC], [M])


def test_q5_k_by_hand() -> None:
    """As Q4_K; the fifth bit of block b is bit b of byte i: here set where b + i is a multiple of 3."""
    quants = bytes((2 * c + i) % 16 | (2 * c + 1 + i) % 16 << 4 for c in range(4) for i in range(32))
    fifth = bytes(sum(1 << b for b in range(8) if (b + i) % 3 == 0) for i in range(32))
    blocks = q5_k.decode(row(half(0.25), half(0.125), packed_scales(SC, M), fifth, quants))
    codes = [[(b + i) % 16 + 16 * ((b + i) % 3 == 0) for i in range(32)] for b in range(8)]
    assert blocks.codes.tolist() == [codes]
    assert (blocks.sc.tolist(), blocks.m.tolist()) == ([SC], [M])


def test_q6_k_by_hand() -> None:
    """Every weight gets its own code; the bytes are built one by one from the layout's definition."""
    codes = [(7 * e + 3) % 64 for e in range(256)]
    low, high = [0] * 128, [0] * 64
    for e, code in enumerate(codes):
        part, run, i = e // 128, e % 128 // 32, e % 32
        low[64 * part + 32 * (run % 2) + i] |= (code & 15) << (4 * (run // 2))
        high[32 * part + i] |= (code >> 4) << (2 * run)
    scales = np.array([-128, 127, 0, 1, -1, *range(2, 13)], np.int8)
    blocks = q6_k.decode(row(bytes(low), bytes(high), scales.tobytes(), half(0.5)))
    assert blocks.codes.reshape(-1).tolist() == [code - 32 for code in codes]
    assert blocks.sc.reshape(-1).tolist() == scales.tolist()
    assert blocks.d.tolist() == [[0.5] * 8]
