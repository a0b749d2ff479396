"""swiglu, then quantize (NUMERICS 11 and 5): the composition of the two.

Shapes    gate, up (rows, ff), ff a multiple of 32 -> codes (rows, ff), scales and sums (rows, ff / 32)
Rounding  that of swiglu, then that of quantize
Order     none
Edges     those of the two
"""

from __future__ import annotations

from reference.floats import F64, Array
from reference.ops import quantize, swiglu


def exact(gate: Array, up: Array) -> quantize.Quantized:
    """float32."""
    return quantize.exact(swiglu.exact(gate, up))


def ideal(gate: Array, up: Array) -> F64:
    """float64, not quantised: the ideal matmul takes the activations as they are."""
    return swiglu.ideal(gate, up)
