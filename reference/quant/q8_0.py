"""Q8_0: 32 weights in 34 bytes, weight = d * q."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import (
    F32,
    LARGEST_HALF,
    U8,
    ScaledBlocks,
    encodable_blocks,
    reciprocal_or_zero,
    view_blocks,
)
from reference.spec.layout import WEIGHT_TYPES, half_to_float


def decode(data: U8) -> ScaledBlocks:
    """Codes and scales of stored rows, (rows, bytes per row)."""
    blocks = view_blocks(data, "Q8_0")
    return ScaledBlocks(codes=blocks["qs"], d=half_to_float(blocks["d"]))


def encode(values: F32) -> U8:
    """Rows of float32 to stored rows as ggml's reference does: d = amax / 127, codes round half away from zero."""
    x = encodable_blocks(values, "Q8_0", 127 * LARGEST_HALF)
    d = np.abs(x).max(axis=1) / np.float32(127)
    scaled = x * reciprocal_or_zero(d)[:, None]
    magnitude = np.abs(scaled)
    whole = np.floor(magnitude)
    rounded = np.copysign(whole + (magnitude - whole >= 0.5), scaled)
    blocks = np.empty(len(x), WEIGHT_TYPES["Q8_0"].dtype)
    blocks["d"] = d
    blocks["qs"] = rounded.astype(np.int8)
    return blocks.view(np.uint8).reshape(len(values), -1)
