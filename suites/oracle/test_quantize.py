"""Activations to 8 bits: number by number, and at every edge of NUMERICS 5."""

from __future__ import annotations

import numpy as np
import pytest

from reference.floats import F32, bits
from reference.forms import IDEAL
from reference.ops import quantize
from suites.oracle import scalar, tensors

TINY = 2.0**-149
NAN, INF = float("nan"), float("inf")


def _block(*values: float) -> F32:
    """One block that starts with these values; zeros follow."""
    block = np.zeros((1, 32), np.float32)
    block[0, : len(values)] = values
    return block


@pytest.mark.parametrize("scale", [1.0, 1e30, 1e-30, 2.0**-140])
def test_exact_is_numerics_5(scale: float) -> None:
    x = tensors.random(5, 96, seed=20, scale=scale)
    got = quantize.exact(x)
    for row in range(5):
        for b in range(3):
            codes, d, s = scalar.quantize(x[row, 32 * b : 32 * b + 32].tolist())
            assert got.codes[row, 32 * b : 32 * b + 32].tolist() == codes
            assert (got.scales[row, b], got.sums[row, b]) == (d, s)


def test_shapes_and_types() -> None:
    q = quantize.exact(tensors.random(3, 704))
    assert (q.codes.shape, q.scales.shape, q.sums.shape) == ((3, 704), (3, 22), (3, 22))
    assert [str(x.dtype) for x in (q.codes, q.scales, q.sums)] == ["int8", "float32", "float32"]


def test_the_error_is_half_a_step() -> None:
    x = tensors.random(50, 256, seed=21)
    q = quantize.exact(x)
    steps = np.repeat(q.scales, 32, axis=1).astype(np.float64)
    assert np.max(np.abs(q.codes * steps - x) / steps) <= 0.5 * (1 + 1e-5)  # d itself and x / d are rounded
    assert (np.abs(q.codes.reshape(50, 8, 32)).max(axis=-1) == 127).all()


def test_ties_go_to_even() -> None:
    q = quantize.exact(_block(127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5))
    assert q.scales[0, 0] == 1
    assert q.codes[0, :8].tolist() == [127, 0, 2, 2, 0, -2, -2, 126]
    assert q.sums[0, 0] == 127 + 126


def test_zeros_of_both_signs() -> None:
    q = quantize.exact(_block(0.0, -0.0, -0.0))
    assert not q.codes.any()
    assert bits(q.scales)[0, 0] == bits(q.sums)[0, 0] == 0


@pytest.mark.parametrize("units", [1, 62, 63])
def test_a_scale_that_vanishes_gives_codes_0(units: int) -> None:
    """amax = 63 * 2^-149 is not 0, 63 / 127 of the smallest subnormal rounds to 0: the choice is by the scale."""
    q = quantize.exact(_block(units * TINY, -units * TINY))
    assert q.scales[0, 0] == 0
    assert not q.codes.any()
    assert bits(q.sums)[0, 0] == 0


def test_a_subnormal_scale_clamps() -> None:
    """amax = 64 .. 190 units gives d = 1 unit: quotients up to 190 clamp at 127, of either sign."""
    q = quantize.exact(_block(190 * TINY, -190 * TINY, 100 * TINY, -128 * TINY))
    assert q.scales[0, 0] == TINY
    assert q.codes[0, :4].tolist() == [127, -127, 100, -127]
    assert q.sums[0, 0] == -27 * TINY
    assert quantize.exact(_block(64 * TINY)).scales[0, 0] == TINY


def test_the_largest_float() -> None:
    largest = float(np.finfo(np.float32).max)
    q = quantize.exact(_block(largest, -largest, largest))
    assert q.codes[0, :3].tolist() == [127, -127, 127]
    assert q.sums[0, 0] == INF, "the scale was rounded up: 127 of it are too many"


@pytest.mark.parametrize("bad", [NAN, -NAN, INF, -INF])
def test_what_is_not_finite_poisons_its_block_alone(bad: float) -> None:
    x = tensors.random(2, 96, seed=22)
    clean = quantize.exact(x)
    x[1, 40] = bad
    q = quantize.exact(x)
    assert np.isnan(q.scales[1, 1]) if np.isnan(bad) else q.scales[1, 1] == INF
    assert np.isnan(q.sums[1, 1])
    assert q.codes[1, 40] == 0
    if np.isinf(bad):
        assert not q.codes[1, 32:64].any(), "x / infinity is 0"
    others = np.ones((2, 3), bool)
    others[1, 1] = False
    assert (q.scales == clean.scales)[others].all()
    assert (q.sums == clean.sums)[others].all()
    assert (q.codes == clean.codes).reshape(2, 3, 32)[others].all()


def test_nan_wins_over_infinity() -> None:
    assert np.isnan(quantize.exact(_block(INF, NAN)).scales[0, 0])
    assert np.isnan(quantize.exact(_block(NAN, -INF)).scales[0, 0])


def test_the_ideal_form_does_not_quantize() -> None:
    assert IDEAL.quantize(tensors.random(1, 32)) is None


def test_a_width_without_whole_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32"):
        quantize.exact(tensors.random(1, 33))
