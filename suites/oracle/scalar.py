"""NUMERICS.md once more, one number at a time, with fractions for the roundings: slow, obvious, sharing no code.

Only finite numbers; the vectorised oracle is held to this on small shapes, and to IEEE 754 by test_nan.py beyond.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

Numbers = Sequence[float]

_EXP_BITS = [0x3F000000, 0x3E2AAAAB, 0x3D2AAA74, 0x3C088863, 0x3AB6A19E, 0x3950A8C8]
_EXP = [float(x) for x in np.array(_EXP_BITS, np.uint32).view(np.float32)]


def rounded(x: Fraction, negative_zero: bool = False) -> float:
    """The float32 nearest to x, ties to even, subnormals kept, as a Python float."""
    if x == 0:
        return -0.0 if negative_zero else 0.0
    magnitude = abs(x)
    exponent = math.floor(math.log2(magnitude)) if magnitude.denominator < 2**900 else -2000
    while Fraction(2) ** exponent > magnitude:
        exponent -= 1
    while Fraction(2) ** (exponent + 1) <= magnitude:
        exponent += 1
    unit = Fraction(2) ** (max(exponent, -126) - 23)
    result = round(magnitude / unit) * unit  # Python rounds a half to even
    if result > Fraction(2) ** 128 - Fraction(2) ** 104:
        return math.copysign(math.inf, x)
    return math.copysign(float(result), x)


def fma(a: float, b: float, c: float) -> float:
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    product_negative = math.copysign(1, a) * math.copysign(1, b) < 0
    both_negative = product_negative and math.copysign(1, c) < 0 and c == 0  # -0 + -0; x - x is +0
    return rounded(exact, negative_zero=both_negative)


def add(a: float, b: float) -> float:
    return fma(a, 1.0, b)


def mul(a: float, b: float) -> float:
    return rounded(Fraction(a) * Fraction(b), negative_zero=math.copysign(1, a) * math.copysign(1, b) < 0)


def div(a: float, b: float) -> float:
    return rounded(Fraction(a) / Fraction(b), negative_zero=math.copysign(1, a) * math.copysign(1, b) < 0)


def sqrt(x: float) -> float:
    """By the integer square root: 80 bits below the unit decide every rounding of a 24-bit number."""
    fraction = Fraction(x)
    scale = 2**400
    root = Fraction(math.isqrt(fraction.numerator * scale * scale // fraction.denominator), scale)
    return rounded(root)


def exp(x: float) -> float:
    """Section 2."""
    if x < -87:
        return 0.0
    x = min(x, 88.0)
    n = float(round(Fraction(mul(x, float.fromhex("0x1.715476p+0")))))
    r = fma(n, -float.fromhex("0x1.62e4p-1"), x)
    r = fma(n, -float.fromhex("0x1.7f7d1cp-20"), r)
    p = _EXP[5]
    for c in reversed(_EXP[:5]):
        p = fma(p, r, c)
    p = add(fma(mul(p, r), r, r), 1.0)
    return math.ldexp(p, int(n))


def tree(lanes: Numbers) -> float:
    """Section 4, the sum of 32 values."""
    s = list(lanes)
    for m in (16, 8, 4, 2, 1):
        s = [add(s[t], s[t ^ m]) for t in range(32)]
    (total,) = set(s)  # every lane ends on the same sum
    return total


def squares_by_blocks(x: Numbers) -> float:
    """Section 4, rms_norm: the sum of the squares of one row."""
    s = [0.0] * 32
    for b in range(-(-len(x) // 32)):
        block = [mul(v, v) for v in x[32 * b : 32 * b + 32]]
        s[b % 32] = add(s[b % 32], tree([*block, *[0.0] * (32 - len(block))]))
    return tree(s)


def squares_by_chains(x: Numbers) -> float:
    """Section 4, qk_norm: the sum of the squares of one row."""
    s = [0.0] * 32
    for i, v in enumerate(x):
        s[i % 32] = fma(v, v, s[i % 32])
    return tree(s)


def norm_scale(squares: float, n: int, eps: float) -> float:
    """Section 4: of a row of n values."""
    return div(1.0, sqrt(add(div(squares, float(n)), eps)))


def rms_norm(x: Numbers, weight: Numbers, eps: float) -> list[float]:
    """Section 4, one row."""
    scale = norm_scale(squares_by_blocks(x), len(x), eps)
    return [mul(mul(a, b), scale) for a, b in zip(x, weight, strict=True)]


def qk_norm(x: Numbers, weight: Numbers, eps: float) -> list[float]:
    """Section 4, one head."""
    scale = norm_scale(squares_by_chains(x), len(x), eps)
    return [mul(mul(a, scale), b) for a, b in zip(x, weight, strict=True)]


def quantize(block: Numbers) -> tuple[list[int], float, float]:
    """Section 5, one block of 32: codes, scale, sum."""
    d = div(max(abs(v) for v in block), 127.0)
    codes = [0 if d == 0 else max(-127, min(127, round(Fraction(div(v, d))))) for v in block]
    return codes, d, mul(d, float(sum(codes)))


def fold(chains: Sequence[float]) -> float:
    """Section 6: the chunks of one output, from the left."""
    y = 0.0
    for a in chains:
        y = add(y, a)
    return y


def attention(q: Numbers, keys: Sequence[Numbers], values: Sequence[Numbers], scale: float) -> list[float]:
    """Section 10, one row and head, all the keys it sees."""
    state: tuple[float, float, list[float]] | None = None
    for first in range(0, len(keys), 256):
        part = _split(q, keys[first : first + 256], values[first : first + 256], scale)
        if state is None:
            state = part
            continue
        (m, total, o), (m_new, total_new, o_new) = state, part
        top = max(m, m_new)
        a, b = exp(add(m, -top)), exp(add(m_new, -top))
        o = [fma(new, b, mul(old, a)) for old, new in zip(o, o_new, strict=True)]
        state = (top, fma(total_new, b, mul(total, a)), o)
    assert state is not None
    return [div(o, state[1]) for o in state[2]]


def _split(
    q: Numbers, keys: Sequence[Numbers], values: Sequence[Numbers], scale: float
) -> tuple[float, float, list[float]]:
    scores = []
    for key in keys:
        s = 0.0
        for a, b in zip(q, key, strict=True):
            s = fma(a, b, s)
        scores.append(mul(s, scale))
    m = max(scores)
    total, o = 0.0, [0.0] * len(values[0])
    for s, value in zip(scores, values, strict=True):
        p = exp(add(s, -m))
        total = add(total, p)
        o = [fma(p, v, old) for v, old in zip(value, o, strict=True)]
    return m, total, o
