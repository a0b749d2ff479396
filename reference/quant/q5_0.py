"""Q5_0: 32 weights in 22 bytes, weight = d * (q - 16); the fifth bit of element e is bit e of qh."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import (
    F32,
    LARGEST_HALF,
    U8,
    ScaledBlocks,
    encodable_blocks,
    join_nibbles,
    signed_scale_codes,
    split_nibbles,
    view_blocks,
)
from reference.spec.layout import WEIGHT_TYPES, half_to_float


def decode(data: U8) -> ScaledBlocks:
    """Codes and scales of stored rows, (rows, bytes per row)."""
    blocks = view_blocks(data, "Q5_0")
    fifth = np.unpackbits(blocks["qh"], axis=-1, bitorder="little")
    codes = split_nibbles(blocks["qs"]) | (fifth << 4)
    return ScaledBlocks(codes=codes.view(np.int8) - np.int8(16), d=half_to_float(blocks["d"]))


def encode(values: F32) -> U8:
    """Rows of float32 to stored rows as ggml's reference does: the value of largest magnitude gets the code -16."""
    x = encodable_blocks(values, "Q5_0", 16 * LARGEST_HALF)
    d, codes = signed_scale_codes(x, 16)
    blocks = np.empty(len(x), WEIGHT_TYPES["Q5_0"].dtype)
    blocks["d"] = d
    blocks["qs"] = join_nibbles(codes & np.uint8(15))
    blocks["qh"] = np.packbits(codes >> np.uint8(4), axis=-1, bitorder="little")
    return blocks.view(np.uint8).reshape(len(values), -1)
