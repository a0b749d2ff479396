"""Numbers as unevaluated sums of two float64, from additions and multiplications only (Dekker 1971, Knuth).

A Pair is (high, low) with |low| at most half an ulp of high, about 106 bits. No fused multiply-add is used, so that a
machine with one and a machine without give the same bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Value = NDArray[np.float64] | float
Pair = tuple[Value, Value]

_SPLIT = 2.0**27 + 1


def two_sum(a: Value, b: Value) -> Pair:
    """a + b exactly, of any two."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _normal(high: Value, low: Value) -> Pair:
    """The same sum with |low| at most half an ulp of high; |high| >= |low| on entry."""
    total = high + low
    return total, low - (total - high)


def _halves(a: Value) -> Pair:
    """a as two numbers of 26 bits."""
    t = a * _SPLIT
    high = t - (t - a)
    return high, a - high


def product(a: Pair, b: Pair) -> Pair:
    """a * b to about 2^-100."""
    (a_high, a_low), (b_high, b_low) = _halves(a[0]), _halves(b[0])
    high = a[0] * b[0]
    low = ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low
    return _normal(high, low + (a[0] * b[1] + a[1] * b[0]))


def add(a: Pair, b: Pair | Value) -> Pair:
    """a + b to about 2^-100 of the larger."""
    b_high, b_low = b if isinstance(b, tuple) else (b, 0.0)
    high, low = two_sum(a[0], b_high)
    return _normal(high, low + (a[1] + b_low))


def from_fixed(x: int, bits: int) -> tuple[float, float]:
    """The pair nearest to x / 2^bits."""
    high = float(x)  # Python rounds an int to nearest even
    return high * 2.0**-bits, float(x - int(high)) * 2.0**-bits


def round_to_odd(high: NDArray[np.float64], low: NDArray[np.float64]) -> NDArray[np.float64]:
    """The float64 whose cast to float32 rounds `high + low` once; high is that sum rounded to nearest.

    An inexact high with an even last bit moves one step towards low; the odd bit then keeps any later, coarser rounding
    from seeing a tie that is not one (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
    """
    bits = high.view(np.int64)
    step = np.where((low > 0) == (high > 0), 1, -1)
    return np.where((low != 0) & (bits & 1 == 0), bits + step, bits).view(np.float64)


def round_once(a: Pair) -> NDArray[np.float32]:
    """A pair as float32, rounded once."""
    return round_to_odd(np.asarray(a[0], np.float64), np.asarray(a[1], np.float64)).astype(np.float32)
