"""rms_norm, then quantize (NUMERICS 4 and 5): the composition of the two.

Shapes    x (rows, dim), dim a multiple of 32, weight (dim,) -> codes (rows, dim), scales and sums (rows, dim / 32)
Rounding  that of rms_norm, then that of quantize
Order     that of rms_norm; none in quantize
Edges     those of the two
"""

from __future__ import annotations

from reference.floats import F64, Array
from reference.ops import quantize, rms_norm


def exact(x: Array, weight: Array, *, eps: float) -> quantize.Quantized:
    """float32."""
    return quantize.exact(rms_norm.exact(x, weight, eps=eps))


def ideal(x: Array, weight: Array, *, eps: float) -> F64:
    """float64, not quantised: the ideal matmul takes the activations as they are."""
    return rms_norm.ideal(x, weight, eps=eps)
