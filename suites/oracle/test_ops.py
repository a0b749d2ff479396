"""The float operations: number by number against NUMERICS.md, against closed forms, and exact against ideal."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reference.floats import F32, bits
from reference.forms import EXACT, IDEAL
from reference.ops import add, advance, argmax, attention, embedding, kv_append, qk_norm, rms_norm, rope, swiglu
from reference.quant import dequantize
from reference.spec.rope_table import Rope, rope_table
from suites.oracle import scalar, tensors
from suites.oracle.tensors import random

EPS = float(np.float32(1e-6))
ULP = 2.0**-23


def _scale(head_dim: int) -> np.float32:
    return np.float32(1 / math.sqrt(head_dim))


@pytest.mark.parametrize("dim", [1, 33, 96, 256, 257, 704, 1057])
def test_rms_norm_is_numerics_4(dim: int) -> None:
    x, weight = random(2, dim, seed=30), random(dim, seed=31)
    expected = [scalar.rms_norm(row, weight.tolist(), EPS) for row in x.tolist()]
    assert rms_norm.exact(x, weight, eps=EPS).tolist() == expected


@pytest.mark.parametrize("head_dim", [32, 34, 80, 128])
def test_qk_norm_is_numerics_4(head_dim: int) -> None:
    x, weight = random(2, 3, head_dim, seed=32), random(head_dim, seed=33)
    expected = [[scalar.qk_norm(head, weight.tolist(), EPS) for head in row] for row in x.tolist()]
    assert qk_norm.exact(x, weight, eps=EPS).tolist() == expected


@pytest.mark.parametrize("dim", [32, 96, 4096])
def test_a_norm_has_unit_mean_square(dim: int) -> None:
    x, ones = random(4, dim, seed=34), np.ones(dim, np.float32)
    for norm in (rms_norm, qk_norm):
        y = norm.exact(x, ones, eps=0.0).astype(np.float64)
        assert np.max(np.abs((y * y).mean(axis=-1) - 1)) <= 20 * ULP
        assert np.max(np.abs(norm.ideal(x, ones, eps=0.0) - y)) <= 8 * ULP * np.max(np.abs(y))
        assert not norm.exact(np.zeros((1, dim), np.float32), ones, eps=EPS).any()


def test_a_norm_does_not_see_a_power_of_two() -> None:
    x, weight = random(3, 300, seed=35), random(300, seed=36)
    assert (rms_norm.exact(x * 64, weight, eps=0.0) == rms_norm.exact(x, weight, eps=0.0)).all()


@pytest.mark.parametrize("n_rot", [32, 20])
def test_rope_is_numerics_8(n_rot: int) -> None:
    x, half = random(3, 2, 32, seed=37), n_rot // 2
    cos, sin = rope_table(Rope(theta=1e4, n_rot=n_rot), 12)
    got = rope.exact(x, cos, sin, 9)
    assert (got[..., n_rot:] == x[..., n_rot:]).all()
    for r, h, i in np.ndindex(3, 2, half):
        a, b, c, s = (float(v) for v in (x[r, h, i], x[r, h, i + half], cos[9 + r, i], sin[9 + r, i]))
        assert got[r, h, i] == scalar.fma(a, c, -scalar.mul(b, s))
        assert got[r, h, i + half] == scalar.fma(b, c, scalar.mul(a, s))


def test_rope_turns_and_keeps_lengths_and_distances() -> None:
    cos, sin = IDEAL.rope_table(Rope(theta=1e4, n_rot=64), 100)
    q, k = (random(1, 1, 64, seed=seed).astype(np.float64) for seed in (38, 39))
    at = [rope.ideal(q, cos, sin, p) for p in (0, 3, 50, 99)]
    assert all(abs(np.linalg.norm(y) - np.linalg.norm(q)) <= 1e-12 for y in at)
    assert (at[0] == q).all()
    products = [(rope.ideal(q, cos, sin, p + 7) * rope.ideal(k, cos, sin, p)).sum() for p in (0, 31, 92)]
    assert max(products) - min(products) <= 1e-11, "a score depends on the distance alone"


def test_rope_refuses_positions_past_the_table() -> None:
    cos, sin = rope_table(Rope(theta=1e4, n_rot=32), 4)
    for position in (-1, 2):
        with pytest.raises(IndexError):
            rope.exact(random(3, 1, 32), cos, sin, position)


def test_swiglu_is_numerics_11() -> None:
    gate, up = random(3, 40, seed=40, scale=20.0), random(3, 40, seed=41)
    got = swiglu.exact(gate, up)
    for index in np.ndindex(3, 40):
        g, u = float(gate[index]), float(up[index])
        assert got[index] == scalar.mul(scalar.div(g, scalar.add(1.0, scalar.exp(-g))), u)


def test_swiglu_at_its_ends() -> None:
    gate = np.array([[0.0, -0.0, 30, 1e30, -87.5, -200, -np.inf]], np.float32)
    got = swiglu.exact(gate, np.ones_like(gate))[0]
    assert bits(got[:2]).tolist() == [0, 0x80000000]
    assert got[2:4].tolist() == [30.0, np.float32(1e30)]
    assert -1e-35 < got[5] < got[4] * 0.5 < 0
    assert got[6] == -np.inf


def test_add_is_float32_addition() -> None:
    x, y = random(3, 50, seed=42), random(50, seed=43)
    assert (EXACT.add(x, y) == x + y).all()
    zeros, minus = np.array([[-0.0, 0.0]], np.float32), np.array([[-0.0, -0.0]], np.float32)
    assert bits(add.exact(zeros, minus))[0].tolist() == [0x80000000, 0]
    assert IDEAL.add(x, y).dtype == np.float64


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_embedding_reads_the_rows(type_name: str) -> None:
    table = tensors.tensor(type_name, random(7, 256, seed=44))
    tokens = np.array([3, 0, 6, 3])
    assert (embedding.exact(tokens, table) == dequantize(table)[tokens]).all()
    assert (embedding.ideal(tokens, table) == dequantize(table)[tokens]).all()
    for outside in (-1, 7):
        with pytest.raises(IndexError):
            embedding.exact(np.array([0, outside]), table)


def test_argmax_takes_the_lowest_index() -> None:
    nan = np.nan
    rows = [
        [1, 3, 3, 2],
        [-0.0, 0.0, 0.0, -1],
        [0.0, -0.0, -1, -1],
        [1, nan, 5, nan],
        [-np.inf] * 4,
        [np.inf, nan, 0, 0],
    ]
    for form in (EXACT, IDEAL):
        assert form.argmax(np.array(rows, form.dtype)).tolist() == [1, 0, 0, 1, 0, 1]
    assert argmax.exact(random(2, 9)).dtype == np.int32


def test_kv_append_stores_and_rounds_once() -> None:
    k, v = random(2, 3, 4, seed=45), random(2, 3, 4, seed=46)
    k[0, 0] = [65504, 65519.996, 65520, -1e30]
    v[0, 0] = [np.nan, 2.0**-25, 2.0**-24 * 1.5, -0.0]
    for dtype in (np.float32, np.float16):
        keys, values = (np.full((3, 6, 4), 7, dtype) for _ in range(2))
        kv_append.exact(k, v, 3, keys=keys, values=values)
        with np.errstate(over="ignore"):
            assert np.array_equal(keys[:, 3:5], k.swapaxes(0, 1).astype(dtype))
            assert np.array_equal(values[:, 3:5], v.swapaxes(0, 1).astype(dtype), equal_nan=True)
        assert (keys[:, [0, 1, 2, 5]] == 7).all()
        assert (values[:, [0, 1, 2, 5]] == 7).all()
    assert keys[0, 3].tolist() == [65504, 65504, np.inf, -np.inf]
    assert values[0, 3, 1:].tolist() == [0, 2.0**-23, 0]
    with pytest.raises(IndexError):
        kv_append.exact(k, v, 5, keys=keys, values=values)
    with pytest.raises(TypeError, match="float64"):
        kv_append.exact(k, v, 0, keys=np.zeros((3, 6, 4)), values=np.zeros((3, 6, 4)))


def _qkv(rows: int, heads: int, kv_heads: int, head_dim: int, context: int) -> tuple[F32, F32, F32]:
    return (
        random(rows, heads, head_dim, seed=47),
        random(kv_heads, context, head_dim, seed=48),
        random(kv_heads, context, head_dim, seed=49),
    )


@pytest.mark.parametrize(("position", "rows"), [(0, 1), (0, 4), (254, 4), (511, 2)])
def test_attention_is_numerics_10(position: int, rows: int) -> None:
    q, keys, values = _qkv(rows, 4, 2, 4, 520)
    got = attention.exact(q, keys, values, position, scale=_scale(4))
    for r in range(rows):
        seen = position + r + 1
        for h in (0, 3):
            k, v = keys[h // 2, :seen].tolist(), values[h // 2, :seen].tolist()
            assert got[r, h].tolist() == scalar.attention(q[r, h].tolist(), k, v, float(_scale(4)))


@pytest.mark.parametrize("position", [0, 5, 250, 300])
def test_attention_exact_is_near_ideal(position: int) -> None:
    """Outputs are means of values: sums of up to 308 terms in float32 keep within 1e-5 of them."""
    q, keys, values = _qkv(8, 6, 3, 64, 320)
    for half in (False, True):
        k, v = (x.astype(np.float16) if half else x for x in (keys, values))
        got, true = (f(q, k, v, position, scale=_scale(64)) for f in (attention.exact, attention.ideal))
        assert np.max(np.abs(got - true)) <= 1e-5


@pytest.mark.parametrize("form", [EXACT, IDEAL], ids=lambda form: form.name)
def test_attention_over_equal_keys_is_the_mean(form: object) -> None:
    op = attention.exact if form is EXACT else attention.ideal
    q, keys, values = _qkv(3, 2, 1, 32, 300)
    keys[:] = keys[:, :1]
    got = op(q, keys, values, 280, scale=_scale(32))
    for r in range(3):
        assert np.max(np.abs(got[r] - values[0, : 281 + r].astype(np.float64).mean(axis=0))) <= 1e-5


def test_attention_of_one_key_is_its_value() -> None:
    q, keys, values = _qkv(1, 4, 2, 32, 8)
    assert (attention.exact(q, keys, values, 0, scale=_scale(32))[0] == np.repeat(values[:, 0], 2, axis=0)).all()


def test_attention_reads_nothing_past_its_row() -> None:
    q, keys, values = _qkv(5, 4, 2, 32, 600)
    expected = attention.exact(q, keys, values, 253, scale=_scale(32))
    for poison in (np.nan, np.inf, 1e38):
        k, v = keys.copy(), values.copy()
        k[:, 258:], v[:, 258:] = poison, poison
        assert (bits(attention.exact(q, k, v, 253, scale=_scale(32))) == bits(expected)).all()
        k[:, 257], v[:, 257] = poison, poison  # the last row sees this one, the others do not
        assert (bits(attention.exact(q, k, v, 253, scale=_scale(32)))[:4] == bits(expected)[:4]).all()


def test_attention_refuses_what_does_not_fit() -> None:
    q, keys, values = _qkv(3, 4, 2, 32, 8)
    with pytest.raises(IndexError):
        attention.exact(q, keys, values, 6, scale=_scale(32))
    with pytest.raises(ValueError, match="does not fit"):
        attention.exact(random(1, 3, 32), keys, values, 0, scale=_scale(32))


def test_advance_moves_on_and_stops_noting_when_full() -> None:
    token, position, count = (np.array([v], np.int32) for v in (5, 10, 0))
    out = np.full(2, -1, np.int32)
    for step in range(3):
        picked = np.array([40 + step], np.int32)
        advance.exact(picked, token=token, position=position, tokens_out=out, count=count)
        assert (token[0], position[0], count[0]) == (40 + step, 11 + step, step + 1)
    assert out.tolist() == [40, 41]
