"""Exact float32 arithmetic in NumPy: what the operations of NUMERICS.md sections 1 and 2 are, bit for bit.

NumPy's own float32 `+ - * /` and `sqrt` are correctly rounded already; a fused multiply-add and an exp of promised bits
are not there and stand here. Nothing in the exact forms may use np.sum, np.dot on rounded values, np.exp or np.mean.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.spec.double_double import round_to_odd

Array = NDArray[np.floating[Any]]  # float32 in the exact form, float64 in the ideal one
Value = Array | np.floating[Any]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

WARP = 32

_LOG2_E = np.float32(float.fromhex("0x1.715476p+0"))
_LN2_HIGH = np.float32(float.fromhex("0x1.62e4p-1"))
_LN2_LOW = np.float32(float.fromhex("0x1.7f7d1cp-20"))
_EXP = np.array([0x3F000000, 0x3E2AAAAB, 0x3D2AAA74, 0x3C088863, 0x3AB6A19E, 0x3950A8C8], np.uint32).view(np.float32)


def single(x: Array) -> F32:
    """x itself, which must be float32: a silent cast in an exact form would be a rounding nobody promised."""
    if x.dtype != np.float32:
        raise TypeError(f"the exact form takes float32, got {x.dtype}")
    return x.astype(np.float32, copy=False)


@np.errstate(all="ignore")
def fma32(a: Value, b: Value, c: Value) -> F32:
    """a * b + c of float32 values, rounded once; NaN and infinity as IEEE 754 has them.

    Arguments are broadcast; float64 arrays that hold float32 values will do, and save a conversion.

    The product is exact in float64 (48 bits). Rounding the sum to float64 and then to float32 differs from one rounding
    only where the float64 is a tie of the float32 grid; every such tie, of subnormals too, has its low 28 bits zero.
    Those few elements are done again by way of round-to-odd.
    """
    product = np.multiply(a, b, dtype=np.float64)
    total = np.asarray(np.add(product, c, dtype=np.float64))
    result = total.astype(np.float32)
    doubtful = (total.view(np.uint64) & np.uint64(0x0FFFFFFF)) == 0
    if doubtful.any():
        p = np.broadcast_to(product, total.shape)[doubtful]
        t = total[doubtful]
        part = t - p
        error = (p - (t - part)) + (np.broadcast_to(c, total.shape)[doubtful] - part)  # TwoSum: t + error is the sum
        result[doubtful] = np.where(np.isfinite(t), round_to_odd(t, error), t).astype(np.float32)
    return result


@np.errstate(all="ignore")
def exp32(x: Array) -> F32:
    """exp(x) of float32, NUMERICS 2: 0.98 ulp at most on [-87, 88]; +0 below, exp(88) above; NaN stays NaN."""
    x = single(np.asarray(x))
    nan = np.isnan(x)
    inside = np.where(nan | (x < -87), np.float32(0), np.where(x > 88, np.float32(88), x))
    n = np.rint(inside * _LOG2_E)
    r = fma32(n, -_LN2_HIGH, inside)
    r = fma32(n, -_LN2_LOW, r)
    p = np.full_like(r, _EXP[5])
    for coefficient in _EXP[4::-1]:
        p = fma32(p, r, coefficient)
    p = fma32(p * r, r, r) + np.float32(1)
    scaled = (p.view(np.int32) + (n.astype(np.int32) << 23)).view(np.float32)
    return np.where(nan, x, np.where(x < -87, np.float32(0), scaled))


@np.errstate(all="ignore")
def warp_tree(s: F32) -> F32:
    """Sum of 32 lanes (..., 32) -> (...): lane l adds lane l xor m for m = 16, 8, 4, 2, 1 (NUMERICS 4).

    All lanes end on the same bits, fadd being commutative; lane 0 is followed here, halving the array.
    """
    for m in (16, 8, 4, 2, 1):
        s = s[..., :m] + s[..., m : 2 * m]
    return s[..., 0]


@np.errstate(all="ignore")
def squares_of_blocks(x: F32) -> F32:
    """Sums of x * x over blocks of 32, (..., n) -> (..., n / 32 rounded up): a tree; the last is padded with zeros."""
    before, n = x.shape[:-1], x.shape[-1]
    blocks = -(-n // WARP)
    rounded = np.zeros((*before, blocks * WARP), np.float32)
    rounded[..., :n] = x * x
    return warp_tree(rounded.reshape(*before, blocks, WARP))


def squares_by_blocks(x: F32) -> F32:
    """Sum of x * x along the last axis (..., n) -> (...): blocks of 32 in 32 chains of stride 32, a tree over these."""
    blocks = squares_of_blocks(x)
    s = np.zeros((*x.shape[:-1], WARP), np.float32)
    for first in range(0, blocks.shape[-1], WARP):
        part = blocks[..., first : first + WARP]
        s[..., : part.shape[-1]] = s[..., : part.shape[-1]] + part
    return warp_tree(s)


@np.errstate(all="ignore")
def squares_by_chains(x: F32) -> F32:
    """Sum of x * x along the last axis (..., n) -> (...): 32 fmaf chains of stride 32, a tree."""
    s = np.zeros((*x.shape[:-1], WARP), np.float32)
    for first in range(0, x.shape[-1], WARP):
        part = x[..., first : first + WARP]
        s[..., : part.shape[-1]] = fma32(part, part, s[..., : part.shape[-1]])
    return warp_tree(s)


def canonical_nan(x: NDArray[Any]) -> NDArray[Any]:
    """A copy with every NaN the canonical one, 0x7fc00000 in float32: payload and sign are not in the contract."""
    return np.where(np.isnan(x), x.dtype.type(np.nan), x)


def bits(x: F32) -> NDArray[np.uint32]:
    """The bits of a float32 array with canonical NaN: what two results are compared by."""
    return np.ascontiguousarray(canonical_nan(single(x))).view(np.uint32)
