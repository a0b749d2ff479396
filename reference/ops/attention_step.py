"""A step of one row from q, k and v on (NUMERICS 4, 8, 9, 10): the composition of qk_norm, rope, kv_append, attention.

Shapes    q (1, heads, head_dim), k, v (1, kv_heads, head_dim) into keys and values; -> the shape of q
Rounding  those of the four
Order     those of qk_norm and attention
Edges     those of the four
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array
from reference.ops import attention, kv_append, qk_norm, rope


def exact(
    q: Array, k: Array, v: Array, q_weight: Array, k_weight: Array, cos: Array, sin: Array, position: int,
    *, eps: float, scale: np.float32, keys: Array, values: Array,
) -> F32:  # fmt: skip
    """float32; writes into `keys` and `values`, float32 or float16. Its 8-bit form is quantize.exact of it."""
    turned = rope.exact(qk_norm.exact(k, k_weight, eps=eps), cos, sin, position)
    kv_append.exact(turned, v, position, keys=keys, values=values)
    turned = rope.exact(qk_norm.exact(q, q_weight, eps=eps), cos, sin, position)
    return attention.exact(turned, keys, values, position, scale=scale)


def ideal(
    q: Array, k: Array, v: Array, q_weight: Array, k_weight: Array, cos: Array, sin: Array, position: int,
    *, eps: float, scale: np.float32, keys: Array, values: Array,
) -> F64:  # fmt: skip
    """float64."""
    turned = rope.ideal(qk_norm.ideal(k, k_weight, eps=eps), cos, sin, position)
    kv_append.ideal(turned, v, position, keys=keys, values=values)
    turned = rope.ideal(qk_norm.ideal(q, q_weight, eps=eps), cos, sin, position)
    return attention.ideal(turned, keys, values, position, scale=scale)
