"""The ideal form against transformers in true float64, and proof that this sees a mistake in every operation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference.floats import Array
from reference.forms import IDEAL, Form, true_rope_table
from reference.ops.activations import Activations
from reference.spec.model import Tensor
from reference.spec.rope_table import Rope
from suites.oracle.golden_models import NAMES, Golden, load

# float64 has 1.1e-16; two or three layers of sums of up to 100 terms on logits of a few units, both sides rounding,
# and angles of up to 4160 radians from frequencies good to an ulp: 1e-12 in all. The claim is 1e-9.
BOUND = 1e-9

Goldens = Callable[[str], Golden]


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> Goldens:
    folder: Path = tmp_path_factory.mktemp("goldens")
    loaded: dict[str, Golden] = {}

    def get(name: str) -> Golden:
        if name not in loaded:
            loaded[name] = load(name, folder)
        return loaded[name]

    return get


def test_the_goldens_cover_what_they_claim(goldens: Goldens) -> None:
    specs = {name: goldens(name).model.spec for name in NAMES}
    assert len(NAMES) == 11
    assert {spec.tied for spec in specs.values()} == {True, False}
    assert {spec.biases for spec in specs.values()} == {True, False}
    assert {spec.heads // spec.kv_heads for spec in specs.values()} == {1, 2, 3, 4}
    assert {spec.rope.scaling for spec in specs.values()} == {"none", "linear", "yarn"}
    assert all(spec.head_dim != spec.dim / spec.heads for spec in specs.values())
    assert max(goldens("long").rows) > 4096
    assert max(goldens("long_yarn").rows) > specs["long_yarn"].rope.original_context


@pytest.mark.parametrize("name", NAMES)
def test_ideal_is_transformers(goldens: Goldens, name: str) -> None:
    error = goldens(name).error(IDEAL)
    assert error <= BOUND, f"largest difference {error:.1e}"


@pytest.mark.parametrize("name", NAMES)
def test_ideal_in_pieces_is_transformers(goldens: Goldens, name: str) -> None:
    error = goldens(name).error(IDEAL, pieces=(7, 1, 13, 1, 1))
    assert error <= BOUND, f"largest difference {error:.1e}"


def _eps_dropped(x: Array, weight: Array, *, eps: float) -> Array:
    return IDEAL.rms_norm(x, weight, eps=0.0)


def _mean_taken_off(x: Array, weight: Array, *, eps: float) -> Array:
    return IDEAL.rms_norm(x - x.mean(axis=-1, keepdims=True), weight, eps=eps)


def _one_plus_weight(x: Array, weight: Array, *, eps: float) -> Array:
    return IDEAL.qk_norm(x, 1 + weight.astype(np.float64), eps=eps)


def _norm_over_all_heads(x: Array, weight: Array, *, eps: float) -> Array:
    flat = x.reshape(len(x), -1)
    return IDEAL.rms_norm(flat, np.tile(weight, x.shape[1]), eps=eps).reshape(x.shape)


def _single_precision_norm(x: Array, weight: Array, *, eps: float) -> Array:
    return IDEAL.rms_norm(x, weight, eps=eps).astype(np.float32).astype(np.float64)


def _token_after(tokens: Any, table: Tensor) -> Array:
    return IDEAL.embedding((tokens + 1) % table.shape[0], table)


def _neighbours(x: Array, cos: Array, sin: Array, position: int) -> Array:
    """Pairs (2i, 2i + 1) in place of (i, i + n_rot / 2)."""
    order = np.concatenate([np.arange(0, x.shape[-1], 2), np.arange(1, x.shape[-1], 2)])
    return IDEAL.rope(x[..., order], cos, sin, position)[..., np.argsort(order)]


def _rope_by_row(x: Array, cos: Array, sin: Array, position: int) -> Array:
    """Every row turned as the first: keys then stand at the wrong distance."""
    return np.concatenate([IDEAL.rope(x[r : r + 1], cos, sin, position) for r in range(len(x))])


def _rope_on_half(x: Array, cos: Array, sin: Array, position: int) -> Array:
    half = cos.shape[1] // 2
    return IDEAL.rope(x, cos[:, :half], sin[:, :half], position)


def _table_without(**change: Any) -> Callable[[Rope, int], tuple[Array, Array]]:
    return lambda rope, positions: true_rope_table(replace(rope, **change), positions)


def _quantized_once(x: Activations, weight: Tensor) -> Array:
    """The rounding of the activations to 8 bits that the ideal form must not have."""
    values = x.values
    step = np.abs(values).max(axis=-1, keepdims=True) / 127
    return IDEAL.matmul(replace(x, values=np.rint(values / step) * step), weight)


def _late_row(x: Activations, weight: Tensor) -> Array:
    return np.roll(IDEAL.matmul(x, weight), 1, axis=-1)


def _missing_column(x: Activations, weight: Tensor) -> Array:
    values = x.values.copy()
    values[:, -1] = 0
    return IDEAL.matmul(replace(x, values=values), weight)


def _values_late(k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
    IDEAL.kv_append(k, np.roll(v, 1, axis=0), position, keys=keys, values=values)


def _heads_swapped(k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
    IDEAL.kv_append(k, v[:, ::-1], position, keys=keys, values=values)


def _half_cache(k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
    IDEAL.kv_append(k.astype(np.float16), v, position, keys=keys, values=values)


def _sees_one_less(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
    """The mask off by one: the last key is hidden from every row but the first."""
    if position:
        return IDEAL.attention(q, keys, values, position - 1, scale=scale)
    rest = IDEAL.attention(q[1:], keys, values, 0, scale=scale)
    return np.concatenate([IDEAL.attention(q[:1], keys, values, 0, scale=scale), rest])


def _sees_one_more(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
    more = IDEAL.attention(q[:-1], keys, values, position + 1, scale=scale)
    return np.concatenate([more, IDEAL.attention(q[-1:], keys, values, position + len(q) - 1, scale=scale)])


def _heads_interleaved(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
    """Head h reads key head h % kv_heads in place of h / group."""
    order = np.arange(q.shape[1]).reshape(-1, keys.shape[0]).T.ravel()
    return IDEAL.attention(q[:, order], keys, values, position, scale=scale)[:, np.argsort(order)]


def _scaled_twice(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
    return IDEAL.attention(q * np.float64(scale), keys, values, position, scale=scale)


def _float32_scale(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
    rounded = np.float64(scale) * np.sqrt(np.float64(q.shape[-1]))
    return IDEAL.attention(q * rounded, keys, values, position, scale=scale)


def _relu(gate: Array, up: Array) -> Array:
    return np.maximum(gate, 0) * up


def _gate_and_up_swapped(gate: Array, up: Array) -> Array:
    return IDEAL.swiglu(up, gate)


MUTATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "embedding: next token": ("untied", {"embedding": _token_after}),
    "rms_norm: no eps": ("untied", {"rms_norm": _eps_dropped}),
    "rms_norm: mean taken off": ("untied", {"rms_norm": _mean_taken_off}),
    "rms_norm: float32 result": ("untied", {"rms_norm": _single_precision_norm}),
    "qk_norm: 1 + weight": ("untied", {"qk_norm": _one_plus_weight}),
    "qk_norm: no eps": ("untied", {"qk_norm": _eps_dropped}),
    "qk_norm: over all heads": ("untied", {"qk_norm": _norm_over_all_heads}),
    "quantize: activations to 8 bits": ("untied", {"matmul": _quantized_once}),
    "matmul: rows one off": ("untied", {"matmul": _late_row}),
    "matmul: last column missing": ("untied", {"matmul": _missing_column}),
    "add: bias forgotten": ("biases", {"add": lambda x, y: x if y.ndim == 1 else IDEAL.add(x, y)}),
    "add: residual twice": ("untied", {"add": lambda x, y: IDEAL.add(x, 2 * y)}),
    "rope: sign": ("untied", {"rope": lambda x, cos, sin, position: IDEAL.rope(x, cos, -sin, position)}),
    "rope: neighbouring pairs": ("untied", {"rope": _neighbours}),
    "rope: all rows at one position": ("untied", {"rope": _rope_by_row}),
    "rope: half of the head": ("untied", {"rope": _rope_on_half}),
    "rope_table: theta": ("untied", {"rope_table": _table_without(theta=1e4)}),
    "rope_table: no linear scaling": ("linear", {"rope_table": _table_without(scaling="none")}),
    "rope_table: no yarn": ("yarn", {"rope_table": _table_without(scaling="none")}),
    "rope_table: yarn, linear instead": ("yarn", {"rope_table": _table_without(scaling="linear")}),
    "rope_table: yarn, beta_slow": ("yarn_wide", {"rope_table": _table_without(beta_slow=2.0)}),
    "rope_table: yarn, beta_fast": ("long_yarn", {"rope_table": _table_without(beta_fast=16.0)}),
    "rope_table: yarn, other context": ("long_yarn", {"rope_table": _table_without(original_context=8192)}),
    "rope_table: attn_factor": ("untied", {"rope_table": _table_without(attn_factor=1.000001)}),
    "kv_append: values of the row before": ("untied", {"kv_append": _values_late}),
    "kv_append: heads swapped": ("untied", {"kv_append": _heads_swapped}),
    "kv_append: float16 keys": ("untied", {"kv_append": _half_cache}),
    "attention: one key less": ("untied", {"attention": _sees_one_less}),
    "attention: one key more": ("untied", {"attention": _sees_one_more}),
    "attention: heads interleaved": ("untied", {"attention": _heads_interleaved}),
    "attention: scaled twice": ("untied", {"attention": _scaled_twice}),
    "attention: scale rounded to float32": ("untied", {"attention": _float32_scale}),
    "swiglu: relu": ("untied", {"swiglu": _relu}),
    "swiglu: gate and up swapped": ("untied", {"swiglu": _gate_and_up_swapped}),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutated_operation_is_seen(goldens: Goldens, mutation: str) -> None:
    name, change = MUTATIONS[mutation]
    mutated: Form = replace(IDEAL, **change)
    error = goldens(name).error(mutated)
    assert not error <= BOUND, f"{mutation} passes: {error:.1e}"


def test_every_operation_is_mutated() -> None:
    """`argmax` decides no logit, is tested alone; what quantises does nothing here: its rounding is put into matmul."""
    fields = {field for _, change in MUTATIONS.values() for field in change}
    assert fields == set(IDEAL.__dataclass_fields__) - {"name", "dtype", "argmax", "quantize", "rms_norm_quantize"}
