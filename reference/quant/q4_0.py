"""Q4_0: 32 weights in 18 bytes, weight = d * (q - 8)."""

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
    blocks = view_blocks(data, "Q4_0")
    return ScaledBlocks(codes=split_nibbles(blocks["qs"]).view(np.int8) - np.int8(8), d=half_to_float(blocks["d"]))


def encode(values: F32) -> U8:
    """Rows of float32 to stored rows as ggml's reference does: the value of largest magnitude gets the code -8."""
    x = encodable_blocks(values, "Q4_0", 8 * LARGEST_HALF)
    d, codes = signed_scale_codes(x, 8)
    blocks = np.empty(len(x), WEIGHT_TYPES["Q4_0"].dtype)
    blocks["d"] = d
    blocks["qs"] = join_nibbles(codes)
    return blocks.view(np.uint8).reshape(len(values), -1)
