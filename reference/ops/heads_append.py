"""The new heads of a few rows (NUMERICS 4, 8, 9): the composition of qk_norm, rope and kv_append.

Shapes    q (rows, heads, head_dim), k, v (rows, kv_heads, head_dim) into keys and values; -> the shape of q
Rounding  those of the three
Order     that of qk_norm
Edges     those of the three
"""

from __future__ import annotations

from reference.floats import F32, F64, Array
from reference.ops import kv_append, qk_norm, rope


def exact(
    q: Array, k: Array, v: Array, q_weight: Array, k_weight: Array, cos: Array, sin: Array, position: int,
    *, eps: float, keys: Array, values: Array,
) -> F32:  # fmt: skip
    """float32; writes into `keys` and `values`, float32 or float16."""
    turned = rope.exact(qk_norm.exact(k, k_weight, eps=eps), cos, sin, position)
    kv_append.exact(turned, v, position, keys=keys, values=values)
    return rope.exact(qk_norm.exact(q, q_weight, eps=eps), cos, sin, position)


def ideal(
    q: Array, k: Array, v: Array, q_weight: Array, k_weight: Array, cos: Array, sin: Array, position: int,
    *, eps: float, keys: Array, values: Array,
) -> F64:  # fmt: skip
    """float64."""
    turned = rope.ideal(qk_norm.ideal(k, k_weight, eps=eps), cos, sin, position)
    kv_append.ideal(turned, v, position, keys=keys, values=values)
    return rope.ideal(qk_norm.ideal(q, q_weight, eps=eps), cos, sin, position)
