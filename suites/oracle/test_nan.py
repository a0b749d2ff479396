"""NaN and infinity, operation by operation: they reach every output that reads them and no other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from reference.floats import F32, Array, exp32
from reference.ops import add, attention, embedding, kv_append, matmul, qk_norm, rms_norm, rope, swiglu
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.rope_table import Rope, rope_table
from suites.oracle import tensors
from suites.oracle.tensors import random

NAN, INF = float("nan"), float("inf")
EPS = float(np.float32(1e-6))
SCALE = np.float32(0.25)


@pytest.fixture(autouse=True)
def no_warnings() -> None:
    """An oracle that warns about a NaN it was given would stop a suite that turns warnings into errors."""
    warnings.simplefilter("error")


def _spread(
    op: Callable[[F32], NDArray[np.floating]], x: F32, where: tuple[int, ...], value: float
) -> NDArray[np.bool_]:
    """Which outputs are NaN once x[where] is `value`; all others must keep their values."""
    clean = op(x)
    assert np.isfinite(clean).all()
    x = x.copy()
    x[where] = value
    dirty = op(x)
    nan: NDArray[np.bool_] = np.isnan(dirty)
    assert (dirty == clean)[~nan].all()
    return nan


@pytest.mark.parametrize("form", ["exact", "ideal"])
@pytest.mark.parametrize("norm", [rms_norm, qk_norm], ids=["rms_norm", "qk_norm"])
def test_norms(norm: object, form: str) -> None:
    op = getattr(norm, form)
    x, weight = random(3, 2, 96, seed=60), random(96, seed=61)
    nan = _spread(lambda x: op(x, weight, eps=EPS), x, (1, 0, 95), NAN)
    assert nan[1, 0].all()
    assert nan.sum() == 96
    x[1, 0, 95] = INF
    y = op(x, weight, eps=EPS)
    assert np.isnan(y[1, 0, 95])
    assert not y[1, 0, :95].any(), "1 / sqrt(infinity) is 0"
    if form == "exact":
        assert not op(np.full((1, 1, 96), 1e20, np.float32), weight, eps=EPS).any(), "the squares overflow"
    weight[5] = NAN
    assert np.isnan(op(random(3, 2, 96), weight, eps=EPS)[..., 5]).all()


def test_a_norm_whose_product_with_the_weight_overflows() -> None:
    x, weight = np.full((2, 96), 1e18, np.float32), np.ones(96, np.float32)
    weight[40] = 1e25
    x[1] *= np.float32(1e2)  # the squares overflow too
    y = rms_norm.exact(x, weight, eps=EPS)
    assert y[0, 40] == INF, "the scale comes last"
    assert np.isnan(y[1, 40])
    assert np.delete(y[0], 40) == pytest.approx(1, rel=1e-5)
    assert not np.delete(y[1], 40).any()
    assert qk_norm.exact(x[:1, None], weight, eps=EPS)[0, 0, 40] == pytest.approx(1e25, rel=1e-5)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_matmul_in_x(type_name: str, value: float) -> None:
    weight = tensors.tensor(type_name, random(5, 512, seed=62))

    def op(x: F32) -> F32:
        return matmul.exact(tensors.activations(x), weight)

    x = random(3, 512, seed=63)
    for k in (0, 130, 511):
        if np.isnan(value) or type_name in tensors.QUANTIZED:
            nan = _spread(op, x, (1, k), value)
            assert nan[1].all()
            assert nan.sum() == 5
        else:  # an infinite float activation is an infinite output, of the sign of the weight
            dirty = x.copy()
            dirty[1, k] = value
            assert np.isinf(op(dirty)[1]).all()
            assert (op(dirty)[[0, 2]] == op(x)[[0, 2]]).all()


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("field", ["d", "dmin"])
@pytest.mark.parametrize("type_name", tensors.QUANTIZED)
def test_matmul_and_embedding_in_a_scale(type_name: str, field: str, value: float) -> None:
    kind = WEIGHT_TYPES[type_name]
    if field not in (kind.dtype.names or ()):
        assert type_name not in ("Q4_K", "Q5_K")
        return
    weight = tensors.tensor(type_name, random(5, 512, seed=64))
    data = weight.data.copy()
    data.view(kind.dtype)[2, 1][field] = value
    broken = replace(weight, data=data)
    x = tensors.activations(random(3, 512, seed=65))
    clean, dirty = matmul.exact(x, weight), matmul.exact(x, broken)
    assert not np.isfinite(dirty[:, 2]).any()
    assert (np.delete(dirty, 2, axis=1) == np.delete(clean, 2, axis=1)).all()
    rows = embedding.exact(np.array([0, 2]), broken)
    first = kind.block_elements
    assert np.isfinite(rows[0]).all()
    assert np.isfinite(rows[1, :first]).all()
    assert not np.isfinite(rows[1, first : 2 * first]).any()


def test_a_float_weight() -> None:
    values = random(5, 200, seed=66)
    values[3, 150] = NAN
    y = matmul.exact(tensors.activations(random(2, 200, seed=67)), tensors.tensor("F32", values))
    assert np.isnan(y).sum() == 2
    assert np.isnan(y[:, 3]).all()


def test_zero_times_infinity() -> None:
    x, w = np.zeros((1, 200), np.float32), np.ones((1, 200), np.float32)
    w[0, 3] = INF
    assert np.isnan(matmul.exact(tensors.activations(x), tensors.tensor("F32", w))[0, 0])


def test_ideal_matmul_of_opposite_infinities() -> None:
    x, w = np.array([[INF, 1]], np.float32), np.array([[1, 1], [-INF, 1], [0, 1]], np.float32)
    y = matmul.ideal(tensors.activations(np.concatenate([x, -x])), tensors.tensor("F32", w))
    assert np.isnan(y[:, 2]).all(), "infinity times zero"
    assert (y[:, 0] == [INF, -INF]).all()
    assert (y[:, 1] == [-INF, INF]).all()


def test_add_and_swiglu() -> None:
    x, y = random(3, 8, seed=68), random(3, 8, seed=69)
    for op in (add.exact, add.ideal, swiglu.exact, swiglu.ideal):
        for value in (lambda z, op=op: op(z, y), lambda z, op=op: op(y, z)):
            nan = _spread(value, x, (1, 2), NAN)
            assert nan[1, 2]
            assert nan.sum() == 1
    inf = np.full((1, 1), INF, np.float32)
    assert np.isnan(add.exact(inf, -inf)).all()
    assert swiglu.exact(inf, np.ones((1, 1), np.float32))[0, 0] == INF
    assert np.isnan(swiglu.exact(inf, np.zeros((1, 1), np.float32))).all()


def test_rope_keeps_to_its_pair() -> None:
    cos, sin = rope_table(Rope(theta=1e4, n_rot=32), 8)
    nan = _spread(lambda x: rope.exact(x, cos, sin, 3), random(2, 2, 40, seed=70), (1, 0, 5), NAN)
    assert np.argwhere(nan).tolist() == [[1, 0, 5], [1, 0, 21]]
    nan = _spread(lambda x: rope.exact(x, cos, sin, 3), random(2, 2, 40, seed=70), (1, 0, 36), NAN)
    assert np.argwhere(nan).tolist() == [[1, 0, 36]]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_kv_append(dtype: type[np.float32] | type[np.float16]) -> None:
    k, v = random(1, 1, 4, seed=71), random(1, 1, 4, seed=72)
    k[0, 0, 1], v[0, 0, 2], v[0, 0, 3] = NAN, -INF, 1e6
    keys: Array = np.zeros((1, 2, 4), dtype)
    values: Array = np.zeros((1, 2, 4), dtype)
    kv_append.exact(k, v, 1, keys=keys, values=values)
    assert np.isnan(keys[0, 1, 1])
    assert values[0, 1, 2] == -INF
    assert values[0, 1, 3] == (1e6 if dtype is np.float32 else INF)


@pytest.mark.parametrize("op", [attention.exact, attention.ideal], ids=["exact", "ideal"])
@pytest.mark.parametrize("position", [2, 300])
def test_attention(op: Callable[..., NDArray[np.floating]], position: int) -> None:
    q, keys, values = random(3, 4, 8, seed=73), random(2, 310, 8, seed=74), random(2, 310, 8, seed=75)
    nan = _spread(lambda q: op(q, keys, values, position, scale=SCALE), q, (1, 2, 7), NAN)
    assert nan[1, 2].all()
    assert nan.sum() == 8
    for j in (
        0,
        position,
        position + 1,
    ):  # key head 1 is read by the heads 2 and 3, key j by the rows from j - position
        first = max(0, j - position)
        nan = _spread(lambda keys: op(q, keys, values, position, scale=SCALE), keys, (1, j, 3), NAN)
        assert nan[first:, 2:].all()
        assert nan.sum() == (3 - first) * 2 * 8
        nan = _spread(lambda values: op(q, keys, values, position, scale=SCALE), values, (1, j, 3), NAN)
        assert nan[first:, 2:, 3].all()
        assert nan.sum() == (3 - first) * 2


@pytest.mark.parametrize("position", [2, 300])
def test_attention_with_infinite_scores(position: int) -> None:
    q, keys, values = np.ones((1, 1, 2), np.float32), np.zeros((1, 310, 2), np.float32), random(1, 310, 2, seed=76)
    keys[0, 1] = -INF
    got = attention.exact(q, keys, values, position, scale=SCALE)
    others = np.delete(values[0, : position + 1].astype(np.float64), 1, axis=0)
    assert np.max(np.abs(got[0, 0] - others.mean(axis=0))) <= 1e-5, "a score of -infinity has no weight"
    keys[0, 1] = INF
    assert np.isnan(attention.exact(q, keys, values, position, scale=SCALE)).all()
    keys[:] = -INF
    assert np.isnan(attention.exact(q, keys, values, position, scale=SCALE)).all(), "no score above -infinity"
    keys[:, 256:] = 0
    assert np.isnan(attention.exact(q, keys, values, position, scale=SCALE)).all(), "none in the first split"


def test_exp32() -> None:
    assert np.isnan(exp32(np.array([NAN, -NAN], np.float32))).all()
