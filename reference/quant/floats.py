"""F32, F16 and BF16: one value, one element."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import F32, U8


def encode_f32(values: F32) -> U8:
    """As is."""
    return np.ascontiguousarray(values, "<f4").view(np.uint8)


def encode_f16(values: F32) -> U8:
    """Rounded to nearest even; too large a value becomes infinite."""
    with np.errstate(over="ignore", under="ignore"):
        return np.ascontiguousarray(values).astype("<f2").view(np.uint8)


def encode_bf16(values: F32) -> U8:
    """Rounded to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    quiet = (bits >> 16) | 0x40
    return np.where(np.isnan(values), quiet, rounded).astype("<u2").view(np.uint8)
