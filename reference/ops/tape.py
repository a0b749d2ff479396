"""What is noted of each row that an operation writes, to compare runs without keeping their values.

Shapes    values (rows, width) float32, float16 or int8 -> hashes, tops, nans, each (rows,)
Rounding  none
Order     none: a sum of integers modulo 2^64, a maximum, a count
Edges     every NaN has the bits of one NaN; it is counted and has no magnitude; -0 and +0 have different hashes
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GOLDEN, _FIRST, _SECOND = (np.uint64(x) for x in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
_BITS = {np.dtype(np.float32): np.uint32, np.dtype(np.float16): np.uint16, np.dtype(np.int8): np.uint8}


@dataclass(frozen=True, kw_only=True, eq=False)
class Marks:
    """One of each for every row."""

    hashes: NDArray[np.uint64]
    tops: NDArray[np.uint32]  # the largest magnitude: bits without the sign, or |code|
    nans: NDArray[np.uint32]


def exact(values: NDArray[Any]) -> Marks:
    """The hash is the sum over the elements of mix(index << 32 | bits), mix being the finaliser of splitmix64."""
    pattern = np.ascontiguousarray(values).view(_BITS[values.dtype]).astype(np.uint64)
    if values.dtype == np.int8:
        nan = np.zeros(values.shape, np.bool_)
        magnitude = np.abs(values.astype(np.int64)).astype(np.uint64)
    else:
        nan = np.isnan(values)
        pattern = np.where(nan, np.uint64(0x7FC00000 if values.dtype == np.float32 else 0x7E00), pattern)
        magnitude = np.where(nan, np.uint64(0), pattern & np.uint64(0x7FFFFFFF if values.itemsize == 4 else 0x7FFF))
    index = np.arange(values.shape[1], dtype=np.uint64) << np.uint64(32)
    return Marks(
        hashes=_mix(index | pattern).sum(axis=1, dtype=np.uint64),
        tops=magnitude.max(axis=1).astype(np.uint32),
        nans=nan.sum(axis=1).astype(np.uint32),
    )


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
