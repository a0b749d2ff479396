"""fma32, exp32 and the sums against fractions and against float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from reference.floats import (
    F32,
    bits,
    canonical_nan,
    exp32,
    fma32,
    single,
    squares_by_blocks,
    squares_by_chains,
    warp_tree,
)
from suites.oracle import scalar

COUNT = 20_000
TINY = np.float32(2.0**-149)


def _random_bits(seed: int, count: int) -> F32:
    """Any finite float32 with the same chance, subnormals among them."""
    values = np.random.default_rng(seed).integers(0, 1 << 32, 2 * count, dtype=np.uint32).view(np.float32)
    return values[np.isfinite(values)][:count]


def _normal(seed: int) -> tuple[F32, F32, F32]:
    a, b, c = np.random.default_rng(seed).standard_normal((3, COUNT)).astype(np.float32)
    return a, b, c


def _products_near(seed: int) -> tuple[F32, F32, F32]:
    """c of the size of -a * b: cancellation down to the last bits."""
    rng = np.random.default_rng(seed)
    a, b = (rng.standard_normal(COUNT).astype(np.float32) for _ in range(2))
    return a, b, (-(a * b) * rng.choice([1, 1 + 2**-23, 1 - 2**-24, 0.5, 2], COUNT)).astype(np.float32)


def _ties(seed: int) -> tuple[F32, F32, F32]:
    """c a float32, a * b half an ulp of it give or take 2^-46 of that: what rounding twice gets wrong."""
    rng = np.random.default_rng(seed)
    c = rng.uniform(1, 2, COUNT).astype(np.float32) * rng.choice([-1, 1], COUNT).astype(np.float32)
    k = rng.integers(0, 3, COUNT)
    a = np.choose(k, [2.0**-12, 2.0**-12 * (1 + 2.0**-23), 2.0**-12 * (1 - 2.0**-24)]).astype(np.float32)
    b = np.choose(k, [2.0**-12, 2.0**-12 * (1 - 2.0**-23), 2.0**-12 * (1 + 2.0**-23)]).astype(np.float32)
    b *= rng.choice([-1, 1], COUNT).astype(np.float32)
    return a, b, c


def _subnormal_ties(seed: int) -> tuple[F32, F32, F32]:
    """c subnormal, a * b half of the smallest subnormal give or take 2^-46 of that."""
    rng = np.random.default_rng(seed)
    c = rng.integers(-(1 << 23), 1 << 23, COUNT).astype(np.float32) * TINY
    k = rng.integers(0, 3, COUNT)
    a = np.choose(k, [2.0**-75, 2.0**-75 * (1 + 2.0**-23), 2.0**-75 * (1 - 2.0**-24)]).astype(np.float32)
    b = np.choose(k, [2.0**-75, 2.0**-75 * (1 - 2.0**-23), 2.0**-75 * (1 + 2.0**-23)]).astype(np.float32)
    return a, b * rng.choice([-1, 1], COUNT).astype(np.float32), c


def _underflowing_products(seed: int) -> tuple[F32, F32, F32]:
    rng = np.random.default_rng(seed)
    a, b = (np.ldexp(rng.uniform(-2, 2, COUNT), rng.integers(-100, -60, COUNT)).astype(np.float32) for _ in range(2))
    return a, b, (rng.integers(-2, 3, COUNT) * 2.0**-149).astype(np.float32)


CASES: dict[str, Callable[[], tuple[F32, F32, F32]]] = {
    "any bits": lambda: (_random_bits(1, COUNT), _random_bits(2, COUNT), _random_bits(3, COUNT)),
    "normal": lambda: _normal(4),
    "cancelling": lambda: _products_near(5),
    "ties": lambda: _ties(6),
    "subnormal ties": lambda: _subnormal_ties(7),
    "underflowing": lambda: _underflowing_products(8),
}


@pytest.mark.parametrize("case", CASES)
def test_fma32_rounds_once(case: str) -> None:
    a, b, c = CASES[case]()
    expected = [scalar.fma(*(float(v) for v in abc)) for abc in zip(a, b, c, strict=True)]
    with np.errstate(over="ignore"):
        assert (bits(fma32(a, b, c)) == bits(np.array(expected, np.float32))).all()


@pytest.mark.parametrize("case", ["ties", "subnormal ties"])
def test_rounding_twice_would_be_seen(case: str) -> None:
    """The ties are ties: the float64 sum rounded again differs there."""
    a, b, c = CASES[case]()
    twice = (a.astype(np.float64) * b + c).astype(np.float32)
    assert (twice != fma32(a, b, c)).mean() > 0.1


def test_fma32_of_what_is_not_finite() -> None:
    nan, inf = np.float32(np.nan), np.float32(np.inf)
    zero, one, large = np.float32(0), np.float32(1), np.float32(3e38)
    cases = [
        (nan, one, one, nan), (one, nan, one, nan), (one, one, nan, nan), (inf, zero, one, nan), (inf, one, -inf, nan),
        (inf, one, inf, inf), (-inf, one, one, -inf), (one, one, -inf, -inf), (large, large, one, inf),
        (large, large, -inf, -inf), (large, -large, nan, nan), (-zero, one, -zero, -zero), (-zero, one, zero, zero),
        (one, one, -one, zero), (one, -one, one, zero),
    ]  # fmt: skip
    a, b, c, expected = (np.array(column, np.float32) for column in zip(*cases, strict=True))
    assert (bits(fma32(a, b, c)) == bits(expected)).all()


def test_fma32_broadcasts_and_takes_float64_of_float32_values() -> None:
    rng = np.random.default_rng(9)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((5, 1), (7,), (3, 5, 7)))
    wide = fma32(np.broadcast_to(a, (3, 5, 7)), np.broadcast_to(b, (3, 5, 7)), c)
    assert (bits(fma32(a, b, c)) == bits(wide)).all()
    assert (bits(fma32(a.astype(np.float64), b.astype(np.float64), c)) == bits(wide)).all()
    assert fma32(a[0, 0], b[0], c[0, 0, 0]).shape == ()


def test_exp32_is_within_its_bound() -> None:
    """0.98 ulp on [-87, 88], against NumPy's float64 exp (good to an ulp of float64)."""
    rng = np.random.default_rng(10)
    x = np.concatenate([rng.uniform(-87, 88, 600_000), rng.uniform(-1, 1, 200_000), rng.uniform(-0.35, 0.35, 200_000)])
    x = np.concatenate([x, np.arange(-126, 128) * math.log(2) / 2, [-87, 88]]).astype(np.float32)
    true = np.exp(x.astype(np.float64))
    ulp = np.abs(np.spacing(true.astype(np.float32))).astype(np.float64)
    worst = np.max(np.abs(exp32(x) - true) / ulp)
    assert worst <= 0.98
    assert worst > 0.5, "no rounding at all: this compares exp32 with itself"


def test_exp32_at_its_edges() -> None:
    below = np.nextafter(np.float32(-87), np.float32(-np.inf))
    x = np.array([0, -0.0, below, -1e30, -np.inf, 88, 89, np.inf, np.nan, TINY, -TINY], np.float32)
    top = exp32(np.array([88], np.float32))[0]
    expected = np.array([1, 1, 0, 0, 0, top, top, top, np.nan, 1, 1], np.float32)
    assert (bits(exp32(x)) == bits(expected)).all()
    assert np.isfinite(top)
    assert exp32(np.array([-87], np.float32))[0] >= np.finfo(np.float32).smallest_normal


def test_exp32_by_scalars() -> None:
    x = np.concatenate([np.random.default_rng(11).uniform(-88, 89, 500), [0, -87, 88]]).astype(np.float32)
    assert exp32(x).tolist() == [scalar.exp(float(v)) for v in x]


@pytest.mark.parametrize("n", [1, 31, 32, 33, 96, 255, 256, 257, 704, 1024, 1056, 2113])
def test_squares_by_scalars(n: int) -> None:
    x = np.random.default_rng(n).standard_normal((2, n)).astype(np.float32)
    assert squares_by_blocks(x).tolist() == [scalar.squares_by_blocks(row) for row in x.tolist()]
    assert squares_by_chains(x).tolist() == [scalar.squares_by_chains(row) for row in x.tolist()]


def test_warp_tree_adds_lanes_by_xor() -> None:
    """Lanes whose sum depends on the order: 2^24, then ones."""
    s = np.ones((1, 32), np.float32)
    s[0, 0] = 2.0**24
    assert warp_tree(s)[0] == 2.0**24 + 30  # lane 0 loses the one of lane 16 and nothing more
    assert np.add.accumulate(s[0], dtype=np.float32)[-1] == 2.0**24  # from the left all of them are lost


def test_nan_payload_and_sign_are_not_compared() -> None:
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert (bits(nans) == 0x7FC00000).all()
    assert bits(np.array([0.0, -0.0], np.float32)).tolist() == [0, 0x80000000]
    assert canonical_nan(np.array([1.0, np.nan])).dtype == np.float64


def test_single_refuses_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        single(np.zeros(3))


def test_scalar_rounding_is_that_of_the_hardware() -> None:
    """The other route is itself right: every float64 rounds as NumPy's cast does."""
    rng = np.random.default_rng(12)
    values = np.ldexp(rng.uniform(-2, 2, 2000), rng.integers(-152, 128, 2000))
    with np.errstate(over="ignore"):
        assert [scalar.rounded(Fraction(v)) for v in values.tolist()] == values.astype(np.float32).tolist()
