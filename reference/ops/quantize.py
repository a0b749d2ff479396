"""Activations to 8 bits with one scale for 32 (NUMERICS 5).

Shapes    x (rows, cols), cols a multiple of 32 -> codes (rows, cols) int8, scales and sums (rows, cols / 32) float32
Rounding  scale, quotient and its rint (ties to even), product of scale and sum of codes
Order     none: the maximum is exact in any order, the sum of codes is an integer
Edges     scale 0 (maximum up to 63 * 2^-149) gives codes 0; a subnormal scale may ask for codes past 127: clamped;
          a NaN or an infinity makes the scale NaN or infinite and the sum NaN, its own code 0; the sum may overflow to
          infinity where values come near the largest float
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference.floats import F32, Array, single

BLOCK = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantized:
    """Rows of 8-bit activations; in block b, codes * scales[b] stands for x and sums[b] for the sum of that."""

    codes: NDArray[np.int8]  # (rows, cols)
    scales: F32  # (rows, cols / 32), D of NUMERICS 5
    sums: F32  # (rows, cols / 32), S of NUMERICS 5


@np.errstate(all="ignore")
def exact(x: Array) -> Quantized:
    """float32."""
    rows, cols = x.shape
    if cols % BLOCK:
        raise ValueError(f"rows of {cols} values, expected a multiple of {BLOCK}")
    blocks = np.ascontiguousarray(single(x)).reshape(rows, cols // BLOCK, BLOCK)
    magnitudes = blocks.view(np.int32) & 0x7FFFFFFF
    amax = magnitudes.max(axis=-1).astype(np.int32).view(np.float32)
    d = amax / np.float32(127)
    t = np.rint(blocks / d[..., None])
    t = np.where(np.isnan(t) | (d == 0)[..., None], np.float32(0), t)
    codes = np.where(t < -127, np.float32(-127), np.where(t > 127, np.float32(127), t)).astype(np.int8)
    sums = d * codes.sum(axis=-1, dtype=np.int32).astype(np.float32)
    return Quantized(codes=codes.reshape(rows, cols), scales=d, sums=sums)


def ideal(x: Array) -> None:
    """Nothing: the ideal matmul takes the activations as they are."""
