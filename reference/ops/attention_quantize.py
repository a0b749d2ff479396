"""attention, then quantize (NUMERICS 10 and 5): the composition of the two.

Shapes    as attention, heads * head_dim a multiple of 32 -> codes, scales and sums of (rows, heads * head_dim)
Rounding  that of attention, then that of quantize
Order     that of attention; none in quantize
Edges     those of the two
"""

from __future__ import annotations

import numpy as np

from reference.floats import F64, Array
from reference.ops import attention, quantize


def exact(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> quantize.Quantized:
    """float32."""
    out = attention.exact(q, keys, values, position, scale=scale)
    return quantize.exact(out.reshape(len(q), -1))


def ideal(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> F64:
    """float64, not quantised."""
    return attention.ideal(q, keys, values, position, scale=scale)
