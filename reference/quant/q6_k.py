"""Q6_K: 256 weights in 210 bytes, weight = (d * sc) * (q - 32) with an 8-bit sc for each 16."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import (
    F32,
    LARGEST_HALF,
    U8,
    HalvedBlocks,
    encodable_blocks,
    join_nibbles,
    repeat_sub_blocks,
    split_nibbles,
    view_blocks,
)
from reference.quant.k_search import symmetric_super_blocks
from reference.spec.layout import WEIGHT_TYPES, half_to_float

_SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)[:, None]  # of the upper two bits of the four runs of 32 in a half


def decode(data: U8) -> HalvedBlocks:
    """Codes and scales of stored rows, (rows, bytes per row)."""
    blocks = view_blocks(data, "Q6_K")
    rows = len(blocks)
    low = split_nibbles(blocks["ql"].reshape(*blocks.shape, 2, 64)).reshape(*blocks.shape, 2, 4, 32)
    high = (blocks["qh"].reshape(*blocks.shape, 2, 1, 32) >> _SHIFTS) & 3
    codes = (low | (high << 4)).reshape(rows, -1, 32).view(np.int8) - np.int8(32)
    return HalvedBlocks(
        codes=codes,
        d=repeat_sub_blocks(half_to_float(blocks["d"])),
        sc=blocks["scales"].reshape(rows, -1, 2).astype(np.int32),
    )


def encode(values: F32) -> U8:
    """Rows of float32 to stored rows; scales by a search for the least squared error."""
    x = encodable_blocks(values, "Q6_K", 32 * 128 * LARGEST_HALF)
    d, sc, signed = symmetric_super_blocks(x)
    codes = (signed + np.int8(32)).view(np.uint8).reshape(-1, 2, 4, 32)
    high = (codes >> 4) << _SHIFTS
    blocks = np.empty(len(x), WEIGHT_TYPES["Q6_K"].dtype)
    blocks["ql"] = join_nibbles((codes & np.uint8(15)).reshape(-1, 2, 128)).reshape(-1, 128)
    blocks["qh"] = np.bitwise_or.reduce(high, axis=2).reshape(-1, 64)
    blocks["scales"], blocks["d"] = sc, d
    return blocks.view(np.uint8).reshape(len(values), -1)
