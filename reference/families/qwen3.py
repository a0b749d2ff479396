"""Qwen3 (dense): the forward pass of the oracle. The engine's page is engine/families/qwen3.py, with the same taps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.floats import Array
from reference.forms import Form
from reference.spec.errors import BadInput
from reference.spec.model import Model, Tensor

Tokens = Sequence[int] | NDArray[np.integer[Any]]
Tap = Callable[[str, int, Array], None]


def no_tap(name: str, layer: int, value: Array) -> None:
    """The tap that looks at nothing."""


@dataclass(kw_only=True, eq=False)
class Cache:
    """Keys and values of the positions that have been computed, and the RoPE tables of all that will be."""

    keys: tuple[Array, ...]  # per layer (kv_heads, context, head_dim)
    values: tuple[Array, ...]
    cos: Array  # (context, n_rot / 2)
    sin: Array
    length: int  # positions computed; what lies beyond is never read

    @property
    def context(self) -> int:
        return len(self.cos)


def new_cache(model: Model, context: int, *, kv: str = "f32", form: Form) -> Cache:
    """An empty cache of `context` positions; the ideal form keeps float64 whatever `kv` says. Unread cells are NaN."""
    if kv not in ("f32", "f16"):
        raise BadInput(f"KV type {kv!r}, expected f32 or f16")
    spec = model.spec
    storage = np.float16 if kv == "f16" and form.dtype == np.float32 else form.dtype
    shape = (spec.kv_heads, context, spec.head_dim)
    cos, sin = form.rope_table(spec.rope, context)
    keys = tuple(np.full(shape, np.nan, storage) for _ in range(spec.layers))
    values = tuple(np.full(shape, np.nan, storage) for _ in range(spec.layers))
    return Cache(keys=keys, values=values, cos=cos, sin=sin, length=0)


def forward(
    model: Model, tokens: Tokens, cache: Cache, *, form: Form, tap: Tap = no_tap, all_logits: bool = True
) -> Array:
    """Logits (rows, vocab) of `tokens` at the positions cache.length ..., which are then part of the cache.

    With `all_logits` off only those of the last row, (1, vocab). Every row is computed on its own, so that a list of
    tokens given in pieces has the bits of one call. Raises BadInput for a token outside the vocabulary, no token at all
    or more than the cache has room for.
    """
    require_tokens(tokens, model.spec.vocab, cache)
    position = cache.length
    x = form.embedding(np.asarray(tokens, np.int64), model.tensor("token_embd.weight"))  # (rows, dim)
    tap("embedding", -1, x)

    for i in range(model.spec.layers):
        x = attention_block(model, i, x, cache, position, form=form, tap=tap)
        x = ffn_block(model, i, x, form=form, tap=tap)

    cache.length += len(tokens)
    return head(model, x if all_logits else x[-1:], form=form, tap=tap)


def attention_block(model: Model, i: int, x: Array, cache: Cache, position: int, *, form: Form, tap: Tap) -> Array:
    """x (rows, dim) plus what layer i's attention makes of it; keys and values go into the cache."""
    spec, rows = model.spec, len(x)
    heads, kv_heads = (rows, spec.heads, spec.head_dim), (rows, spec.kv_heads, spec.head_dim)
    scale = np.float32(1 / np.sqrt(np.float64(spec.head_dim)))

    def weight(name: str) -> Tensor:
        return model.tensor(f"blk.{i}.{name}")

    w_q, w_k, w_v = weight("attn_q.weight"), weight("attn_k.weight"), weight("attn_v.weight")
    a = form.normed(x, weight("attn_norm.weight").float32(), w_q, w_k, w_v, eps=spec.eps)
    tap("attn_norm", i, a.values)

    q = form.matmul(a, w_q)  # (rows, heads * head_dim)
    k = form.matmul(a, w_k)  # (rows, kv_heads * head_dim)
    v = form.matmul(a, w_v)
    if spec.biases:
        q = form.add(q, weight("attn_q.bias").float32())
        k = form.add(k, weight("attn_k.bias").float32())
        v = form.add(v, weight("attn_v.bias").float32())
    tap("q", i, q)
    tap("k", i, k)
    tap("v", i, v)

    q = form.qk_norm(q.reshape(heads), weight("attn_q_norm.weight").float32(), eps=spec.eps)
    tap("q_norm", i, q.reshape(rows, -1))
    k = form.qk_norm(k.reshape(kv_heads), weight("attn_k_norm.weight").float32(), eps=spec.eps)
    tap("k_norm", i, k.reshape(rows, -1))
    q = form.rope(q, cache.cos, cache.sin, position)
    tap("q_rope", i, q.reshape(rows, -1))
    k = form.rope(k, cache.cos, cache.sin, position)
    tap("k_rope", i, k.reshape(rows, -1))

    form.kv_append(k, v.reshape(kv_heads), position, keys=cache.keys[i], values=cache.values[i])
    attended = form.attention(q, cache.keys[i], cache.values[i], position, scale=scale).reshape(rows, -1)
    tap("attention", i, attended)

    w_output = weight("attn_output.weight")
    projected = form.matmul(form.activations(attended, w_output), w_output)
    tap("attn_output", i, projected)
    x = form.add(x, projected)
    tap("attn_residual", i, x)
    return x


def ffn_block(model: Model, i: int, x: Array, *, form: Form, tap: Tap) -> Array:
    """x (rows, dim) plus what layer i's feed-forward part makes of it."""

    def weight(name: str) -> Tensor:
        return model.tensor(f"blk.{i}.{name}")

    w_gate, w_up, w_down = weight("ffn_gate.weight"), weight("ffn_up.weight"), weight("ffn_down.weight")
    a = form.normed(x, weight("ffn_norm.weight").float32(), w_gate, w_up, eps=model.spec.eps)
    tap("ffn_norm", i, a.values)
    gate = form.matmul(a, w_gate)  # (rows, ff)
    tap("gate", i, gate)
    up = form.matmul(a, w_up)
    tap("up", i, up)
    gate = form.swiglu(gate, up)
    tap("swiglu", i, gate)
    projected = form.matmul(form.activations(gate, w_down), w_down)
    tap("down", i, projected)
    x = form.add(x, projected)
    tap("ffn_residual", i, x)
    return x


def head(model: Model, x: Array, *, form: Form, tap: Tap) -> Array:
    """Logits (rows, vocab) of x (rows, dim)."""
    w_output = model.head()
    a = form.normed(x, model.tensor("output_norm.weight").float32(), w_output, eps=model.spec.eps)
    tap("output_norm", -1, a.values)
    logits = form.matmul(a, w_output)
    tap("logits", -1, logits)
    return logits


def require_tokens(tokens: Tokens, vocab: int, cache: Cache) -> None:
    """Raises BadInput unless the tokens are some, in the vocabulary, and fit the cache."""
    if not len(tokens):
        raise BadInput("no tokens, expected at least one")
    for index, token in enumerate(tokens):
        if not 0 <= token < vocab:
            raise BadInput(f"token {token} at index {index} is outside the vocabulary, expected 0 .. {vocab - 1}")
    if cache.length + len(tokens) > cache.context:
        raise BadInput(
            f"{len(tokens)} tokens after {cache.length} exceed the context, expected at most {cache.context} in all"
        )
