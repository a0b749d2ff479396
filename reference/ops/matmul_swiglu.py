"""Gate and up of the feed-forward part, swiglu, then quantize (NUMERICS 6, 11 and 5): the composition of the four.

Shapes    x (rows, cols), gate and up (ff, cols), ff a multiple of 32 -> codes, scales and sums of (rows, ff)
Rounding  those of matmul, swiglu and quantize
Order     that of matmul
Edges     those of the three
"""

from __future__ import annotations

from reference.floats import F64
from reference.ops import matmul, quantize, swiglu
from reference.ops.activations import Activations
from reference.spec.model import Tensor


def exact(x: Activations, gate: Tensor, up: Tensor) -> quantize.Quantized:
    """float32."""
    return quantize.exact(swiglu.exact(matmul.exact(x, gate), matmul.exact(x, up)))


def ideal(x: Activations, gate: Tensor, up: Tensor) -> F64:
    """float64, not quantised."""
    return swiglu.ideal(matmul.ideal(x, gate), matmul.ideal(x, up))
