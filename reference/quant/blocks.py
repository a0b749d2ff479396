"""What decoding gives, and the steps that all block codecs share.

Blocks have 32 weights; a super-block of 256 is eight of them, with its scales repeated for each. Values are float32
converted from float16 or from integers, both exact. Products are formed where NUMERICS 3 and 6 say, never here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference.spec.layout import WEIGHT_TYPES

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Blocks = NDArray[np.void]  # structured, one element per stored block

BLOCK = 32
SUB_BLOCKS = 8
LARGEST_HALF = 65504.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ScaledBlocks:
    """Q8_0, Q4_0, Q5_0: weight = d * code."""

    codes: NDArray[np.int8]  # (rows, blocks, 32), the offset 8 or 16 already taken off
    d: F32  # (rows, blocks)


@dataclass(frozen=True, kw_only=True, eq=False)
class OffsetBlocks:
    """Q4_K, Q5_K: weight = (d * sc) * code - (dmin * m)."""

    codes: NDArray[np.int8]  # (rows, blocks, 32), 0 .. 15 or 0 .. 31
    d: F32  # (rows, blocks), as the next three
    dmin: F32
    sc: F32  # whole numbers 0 .. 63
    m: F32  # whole numbers 0 .. 63


@dataclass(frozen=True, kw_only=True, eq=False)
class HalvedBlocks:
    """Q6_K: weight = (d * sc) * code, with one sc for each half of 16."""

    codes: NDArray[np.int8]  # (rows, blocks, 32), -32 .. 31
    d: F32  # (rows, blocks)
    sc: NDArray[np.int32]  # (rows, blocks, 2), -128 .. 127


def view_blocks(data: U8, type_name: str) -> Blocks:
    """(rows, bytes per row) as (rows, stored blocks) of the type's structure."""
    blocks: Blocks = np.ascontiguousarray(data).view(WEIGHT_TYPES[type_name].dtype)
    return blocks


def repeat_sub_blocks(values: F32) -> F32:
    """One value per super-block, (rows, n), as one per block, (rows, 8n)."""
    return np.repeat(values, SUB_BLOCKS, axis=1)


def split_nibbles(packed: U8) -> U8:
    """Low nibbles, then high nibbles, of the last axis: (..., n) -> (..., 2n)."""
    return np.concatenate((packed & 15, packed >> 4), axis=-1)


def join_nibbles(codes: U8) -> U8:
    """The inverse of split_nibbles."""
    low, high = np.split(codes, 2, axis=-1)
    joined: U8 = low | (high << np.uint8(4))
    return joined


def encodable_blocks(values: F32, type_name: str, largest: float) -> F32:
    """(rows, cols) as (stored blocks, elements).

    Raises ValueError if a row is not made of whole blocks or a value is beyond `largest` in magnitude, infinite or NaN.
    """
    elements = WEIGHT_TYPES[type_name].block_elements
    if values.ndim != 2 or values.shape[1] % elements:
        raise ValueError(f"{type_name} encodes rows of a multiple of {elements} values, not {values.shape}")
    if values.size and not np.abs(values).max() <= largest:
        raise ValueError(f"{type_name} holds magnitudes up to {largest:g} and no NaN")
    return np.ascontiguousarray(values, np.float32).reshape(-1, elements)


def reciprocal_or_zero(d: F32) -> F32:
    """1 / d; 0 where d is zero or so small that 1 / d is not finite."""
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.float32(1) / d
    return np.where(np.isfinite(inverse), inverse, np.float32(0)).astype(np.float32)


def fold(values: F32) -> F32:
    """Sum over the first axis, a power of two long, by halves: the same order on every machine and for any width."""
    while len(values) > 1:
        half = len(values) // 2
        values = values[:half] + values[half:]
    total: F32 = values[0]
    return total


def signed_scale_codes(x: F32, half: int) -> tuple[F32, U8]:
    """d (blocks,) and unsigned codes 0 .. 2 half - 1 of Q4_0 (half = 8) and Q5_0 (half = 16).

    d = v / -half with v the first value of largest magnitude, so that v itself gets code 0 whatever its sign. The sum
    x / d + half + 0.5 is formed in float64: in float32 ggml's own result depends on the compiler's contraction.
    """
    place = np.abs(x).argmax(axis=1)
    d = np.take_along_axis(x, place[:, None], axis=1)[:, 0] / np.float32(-half)
    scaled = x.astype(np.float64) * reciprocal_or_zero(d).astype(np.float64)[:, None]
    codes = np.trunc(scaled + (half + 0.5)).clip(0, 2 * half - 1)
    return d, codes.astype(np.uint8)
