"""Elementary functions of integers with 256 fractional bits: exact arithmetic, the same on every machine.

A number x is held as the integer nearest below x * 2^256. Results are good to about 2^-240; RoPE tables need 2^-130.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

BITS = 256
ONE = 1 << BITS


def scale(x: int, by: Fraction) -> int:
    """x * by."""
    return x * by.numerator // by.denominator


def divide(x: int, y: int) -> int:
    """x / y."""
    return (x << BITS) // y


def multiply(x: int, y: int) -> int:
    """x * y."""
    return x * y >> BITS


def to_bits(x: int, bits: int) -> int:
    """x rounded to `bits` fractional bits."""
    drop = BITS - bits
    return (x + (1 << drop - 1)) >> drop


@cache
def pi() -> int:
    """Machin: 16 atan(1/5) - 4 atan(1/239)."""
    return 16 * _atan_inverse(5) - 4 * _atan_inverse(239)


def _atan_inverse(n: int) -> int:
    """atan(1 / n) by its power series."""
    power, total, k = ONE // n, 0, 1
    while power:
        total += power // k if k % 4 == 1 else -(power // k)
        power //= n * n
        k += 2
    return total


@cache
def _log_2() -> int:
    return 2 * _atanh(ONE // 3)


def _atanh(x: int) -> int:
    """atanh(x) by its power series; |x| <= 1/3 converges fast."""
    square, power, total, k = multiply(x, x), x, 0, 1
    while abs(power) > 1:
        total += power // k
        power = multiply(power, square)
        k += 2
    return total


def log(x: Fraction) -> int:
    """ln(x) of a positive fraction."""
    return log_of(scale(ONE, x))


def log_of(x: int) -> int:
    """ln of a positive number in this form: a power of two apart, the rest in [1, 2) by atanh."""
    exponent = x.bit_length() - 1 - BITS
    rest = x >> exponent if exponent >= 0 else x << -exponent
    return exponent * _log_2() + 2 * _atanh(divide(rest - ONE, rest + ONE))


def exp(x: int) -> int:
    """e^x: a power of two apart, the rest by its power series."""
    exponent, rest = divmod(x, _log_2())
    term, total, k = ONE, 0, 1
    while term:
        total += term
        term = multiply(term, rest) // k
        k += 1
    return total << exponent if exponent >= 0 else total >> -exponent


def cos_sin(x: int) -> tuple[int, int]:
    """cos(x) and sin(x) of 0 <= x < 1 by their power series."""
    sums, term, k = [0, 0, 0, 0], ONE, 0
    while term:
        sums[k % 4] += term
        k += 1
        term = multiply(term, x) // k
    return sums[0] - sums[2], sums[1] - sums[3]
