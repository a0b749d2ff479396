"""A normed row to 8 bits: number by number, and at every edge of NUMERICS 5."""

from __future__ import annotations

import numpy as np
import pytest

from reference.floats import F32, bits
from reference.forms import IDEAL
from reference.ops import quantize, rms_norm, rms_norm_quantize
from suites.oracle import scalar
from suites.oracle.tensors import random

EPS = float(np.float32(1e-6))
NAN, INF = float("nan"), float("inf")


def _given(rows: int = 2, dim: int = 96) -> tuple[F32, F32]:
    return random(rows, dim, seed=80), random(dim, seed=81)


@pytest.mark.parametrize("dim", [32, 96, 1056])
def test_exact_is_numerics_5(dim: int) -> None:
    x, weight = _given(dim=dim)
    got = rms_norm_quantize.exact(x, weight, eps=EPS)
    for r, row in enumerate(x.tolist()):
        weighted = [scalar.mul(a, b) for a, b in zip(row, weight.tolist(), strict=True)]
        scale = scalar.norm_scale(scalar.squares_by_blocks(row), dim, EPS)
        for b in range(dim // 32):
            codes, d, s = scalar.quantize(weighted[32 * b : 32 * b + 32])
            assert got.codes[r, 32 * b : 32 * b + 32].tolist() == codes
            assert (got.scales[r, b], got.sums[r, b]) == (scalar.mul(d, scale), scalar.mul(s, scale))


def test_it_stands_for_the_normed_row() -> None:
    x, weight = _given(rows=20, dim=1024)
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    steps = np.repeat(q.scales, 32, axis=1).astype(np.float64)
    error = q.codes * steps - rms_norm.ideal(x, weight, eps=EPS)
    assert np.max(np.abs(error) / steps) <= 0.5 * (1 + 1e-4)  # the scale and its product with d are rounded


def test_the_codes_do_not_know_the_scale_of_the_row() -> None:
    x, weight = _given()
    q = rms_norm_quantize.exact(x, weight, eps=0.5)
    assert (q.codes == quantize.exact(x * weight).codes).all()
    assert (q.codes == rms_norm_quantize.exact(x, weight, eps=EPS).codes).all()
    x[0, 95] *= 100  # of the last block
    assert (q.codes[:, :64] == rms_norm_quantize.exact(x, weight, eps=0.5).codes[:, :64]).all()


def test_it_is_not_the_composition() -> None:
    x, weight = _given()
    composed = quantize.exact(rms_norm.exact(x, weight, eps=EPS))
    assert (rms_norm_quantize.exact(x, weight, eps=EPS).scales != composed.scales).any()


def test_a_zero_row_gives_zeros() -> None:
    q = rms_norm_quantize.exact(np.zeros((1, 96), np.float32), random(96, seed=81), eps=EPS)
    assert not q.codes.any()
    assert not bits(q.scales).any()
    assert not bits(q.sums).any()


def test_a_nan_poisons_its_row() -> None:
    x, weight = _given()
    clean = rms_norm_quantize.exact(x, weight, eps=EPS)
    x[1, 40] = NAN
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    assert np.isnan(q.scales[1]).all()
    assert np.isnan(q.sums[1]).all()
    assert q.codes[1, 40] == 0
    assert (q.scales[0] == clean.scales[0]).all()
    assert (q.sums[0] == clean.sums[0]).all()


@pytest.mark.parametrize("bad", [INF, -INF])
def test_an_infinity_poisons_its_block_and_makes_zeros_of_the_others(bad: float) -> None:
    x, weight = _given()
    x[1, 40] = bad
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    assert np.isnan(q.scales[1]).tolist() == np.isnan(q.sums[1]).tolist() == [False, True, False]
    assert not q.scales[1, [0, 2]].any()
    assert not q.sums[1, [0, 2]].any()
    assert not q.codes[1, 32:64].any()


def test_squares_that_overflow_give_zeros() -> None:
    x, weight = np.full((1, 96), 1e20, np.float32), np.ones(96, np.float32)
    weight[40] = 1e25  # and this product overflows, too
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    assert not q.scales[0, [0, 2]].any()
    assert not q.sums[0, [0, 2]].any()
    assert np.isnan(q.scales[0, 1])
    assert np.isnan(q.sums[0, 1])
    x[:] = np.finfo(np.float32).max  # finite, and so is d, but 127 * 32 of it are not
    weight[:] = 1
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    assert not q.scales.any()
    assert np.isnan(q.sums).all()


def test_a_product_with_the_weight_that_overflows() -> None:
    x, weight = np.full((1, 96), 1e18, np.float32), np.ones(96, np.float32)
    weight[40] = 1e25
    q = rms_norm_quantize.exact(x, weight, eps=EPS)
    assert q.scales[0, 1] == INF
    assert np.isnan(q.sums[0, 1])
    assert q.scales[0, [0, 2]] == pytest.approx(1 / 127, rel=1e-5)


def test_the_ideal_form_does_not_quantize() -> None:
    assert IDEAL.rms_norm_quantize(*_given(), eps=EPS) is None
