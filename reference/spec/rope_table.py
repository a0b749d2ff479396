"""RoPE tables of correctly rounded operations: the same bits on every machine, unlike a library's cos and pow.

Three steps. Frequencies, in turns per position, are made once per pair with integers of 256 fractional bits. The angle
of (position, pair) is then an exact product modulo one turn, in 128 fractional bits. Its sine and cosine come from a
table of 1024 angles and a short series in pairs of float64 (additions and multiplications only, error below 2^-58 of
the value), and the pair is rounded once to float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reference.spec import fixed_point as fixed
from reference.spec.double_double import Pair, add, from_fixed, product, round_once

_TURN_BITS = 128  # fractional bits of an angle in turns
_STEPS = 1024  # table angles in a turn
_BLOCK = 1 << 15  # entries worked on at a time: they stay in a core's cache
MAX_POSITIONS = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Rope:
    """Rotary position embedding of a model: pair i turns by position * theta^(-2i / n_rot), then scaled.

    `linear` divides every angle by factor. `yarn` (Peng et al. 2023) divides the slow pairs, keeps the fast ones and
    blends those between beta_slow and beta_fast turns over original_context; it multiplies cos and sin by
    1 + 0.1 ln(factor). attn_factor multiplies cos and sin under every scaling.
    """

    theta: float
    n_rot: int
    scaling: Literal["none", "linear", "yarn"] = "none"
    factor: float = 1.0
    original_context: int = 0  # positions; yarn only
    attn_factor: float = 1.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0

    def __post_init__(self) -> None:
        if self.n_rot % 2 or self.n_rot <= 0:
            raise ValueError(f"n_rot is {self.n_rot}, expected a positive even number")
        if self.scaling == "yarn" and self.original_context <= 0:
            raise ValueError("yarn needs original_context")


def rope_table(rope: Rope, positions: int, first: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """cos and sin, each (positions, n_rot / 2) float32, of the positions first .. first + positions - 1."""
    if not 0 <= first <= first + positions <= MAX_POSITIONS:
        raise ValueError(f"positions {first} .. {first + positions}, expected 0 .. {MAX_POSITIONS}")
    turns = [fixed.to_bits(f, _TURN_BITS) for f in frequencies(rope)]
    limbs = np.array([[f >> shift & 0xFFFFFFFF for f in turns] for shift in (96, 64, 32, 0)], np.uint64)
    scale = from_fixed(magnitude(rope), fixed.BITS)
    pairs = len(turns)
    cos, sin = (np.empty((positions, pairs), np.float32) for _ in range(2))
    rows = max(1, _BLOCK // pairs)
    for start in range(0, positions, rows):
        stop = min(start + rows, positions)
        position = np.arange(first + start, first + stop, dtype=np.uint64)[:, None]
        c, s = _cos_sin(*_angle(position, limbs))
        if scale != (1.0, 0.0):
            c, s = product(c, scale), product(s, scale)
        cos[start:stop], sin[start:stop] = round_once(c), round_once(s)
    return cos, sin


def frequencies(rope: Rope) -> list[int]:
    """Turns per position of every pair, with fixed.BITS fractional bits, scaling applied."""
    half = rope.n_rot // 2
    log_theta = fixed.log(Fraction(rope.theta))
    turns = [fixed.divide(fixed.exp(-log_theta * i // half), 2 * fixed.pi()) for i in range(half)]
    factor = Fraction(rope.factor)
    if rope.scaling == "none":
        return turns
    kept = _yarn_kept(rope, log_theta) if rope.scaling == "yarn" else [Fraction(0)] * half
    return [fixed.scale(f, keep + (1 - keep) / factor) for f, keep in zip(turns, kept, strict=True)]


def _yarn_kept(rope: Rope, log_theta: int) -> list[Fraction]:
    """Per pair, the part of its frequency that is not divided: 1 for fast pairs, 0 for slow ones, a ramp between."""

    def pair_of(beta: float) -> int:
        """The pair that makes `beta` turns over original_context; fixed.BITS fractional bits."""
        context = fixed.log(rope.original_context / Fraction(beta))
        return fixed.divide(rope.n_rot * (context - fixed.log_of(2 * fixed.pi())), 2 * log_theta)

    low = max(0, pair_of(rope.beta_fast) >> fixed.BITS)
    high = min(rope.n_rot - 1, -(-pair_of(rope.beta_slow) >> fixed.BITS))
    width = max(Fraction(1, 1000), Fraction(high - low))
    return [1 - min(max(Fraction(i - low) / width, Fraction(0)), Fraction(1)) for i in range(rope.n_rot // 2)]


def magnitude(rope: Rope) -> int:
    """What cos and sin are multiplied by, with fixed.BITS fractional bits."""
    yarn = fixed.log(Fraction(rope.factor)) // 10 if rope.scaling == "yarn" else 0
    return fixed.scale(fixed.ONE + yarn, Fraction(rope.attn_factor))


def _angle(
    position: NDArray[np.uint64], limbs: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """position * frequency modulo one turn: step / 1024 + high + low turns, |high + low| <= 1 / 2048.

    Position has at most 31 bits and a limb 32, so that a product and a carry fit in 64 bits: all of it is exact.
    """
    word, mask = np.uint64(32), np.uint64(0xFFFFFFFF)
    carry: NDArray[np.uint64] = np.zeros(1, np.uint64)
    digits = []
    for limb in limbs[::-1]:
        total = position * limb + carry
        digits.append(total & mask)
        carry = total >> word
    d, c, b, a = digits  # a holds the top 32 bits of the fraction; whole turns are gone with the last carry
    a = (a + np.uint64(1 << 21)) & mask  # half a step, so that the nearest step is the one below
    step = (a >> np.uint64(22)).astype(np.int64)
    rest = (a & np.uint64(0x3FFFFF)).astype(np.int64) - (1 << 21)
    high = ((rest << 32) + b.astype(np.int64)).astype(np.float64) * 2.0**-64  # 54 bits with the sign: exact
    low = c.astype(np.float64) * 2.0**-96 + d.astype(np.float64) * 2.0**-128
    return step, high, low


def _cos_sin(step: NDArray[np.int64], high: NDArray[np.float64], low: NDArray[np.float64]) -> tuple[Pair, Pair]:
    """cos and sin of step / 1024 + high + low turns, as pairs of float64."""
    x = product((high, low), from_fixed(2 * fixed.pi(), fixed.BITS))  # radians, |x| < 0.0031
    xx = x[0] * x[0]
    s = add(x, x[0] * xx * (xx * (xx * -_INVERSE_7 + _INVERSE_5) - _INVERSE_3))
    c = xx * (xx * (xx * -_INVERSE_6 + _INVERSE_4) - 0.5) - x[0] * x[1]  # cos(x) - 1
    cos_high, cos_low, sin_high, sin_low = (column[step] for column in _step_table())
    cos_s, sin_s = product((cos_high, cos_low), s), product((sin_high, sin_low), s)
    cos = add(add((cos_high, cos_low), cos_high * c), (-sin_s[0], -sin_s[1]))
    return cos, add(add((sin_high, sin_low), sin_high * c), cos_s)


_INVERSE_3 = float.fromhex("0x1.5555555555555p-3")  # 1 / 3!
_INVERSE_4 = float.fromhex("0x1.5555555555555p-5")
_INVERSE_5 = float.fromhex("0x1.1111111111111p-7")
_INVERSE_6 = float.fromhex("0x1.6c16c16c16c17p-10")
_INVERSE_7 = float.fromhex("0x1.a01a01a01a01ap-13")


@cache
def _step_table() -> tuple[NDArray[np.float64], ...]:
    """cos high, cos low, sin high, sin low of k / 1024 turns."""
    quarter = [fixed.cos_sin(k * 2 * fixed.pi() // _STEPS) for k in range(_STEPS // 8 + 1)]
    quarter += [(s, c) for c, s in quarter[-2::-1]]  # mirrored at an eighth; exact 1 and 0 at a quarter
    turn = [*quarter[:-1]]
    for _ in range(3):
        turn += [(-s, c) for c, s in turn[-_STEPS // 4 :]]
    pairs = [(*from_fixed(c, fixed.BITS), *from_fixed(s, fixed.BITS)) for c, s in turn]
    return tuple(np.array(column) for column in zip(*pairs, strict=True))
