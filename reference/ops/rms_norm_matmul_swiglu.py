"""rms_norm, quantize, gate and up of the feed-forward part, swiglu, quantize (NUMERICS 4, 5, 6, 11): their composition.

Shapes    x (rows, dim), weight (dim,), gate and up (ff, dim), dim and ff multiples of 32 -> codes, scales, sums of (rows, ff)
Rounding  those of the parts
Order     those of rms_norm and matmul
Edges     those of the parts
"""

from __future__ import annotations

from reference.floats import F64, Array
from reference.ops import matmul, quantize, rms_norm, swiglu
from reference.ops.activations import Activations
from reference.spec.model import Tensor


def exact(x: Array, weight: Array, gate: Tensor, up: Tensor, *, eps: float) -> quantize.Quantized:
    """float32."""
    h = rms_norm.exact(x, weight, eps=eps)
    a = Activations(values=h, quantized=quantize.exact(h))
    return quantize.exact(swiglu.exact(matmul.exact(a, gate), matmul.exact(a, up)))


def ideal(x: Array, weight: Array, gate: Tensor, up: Tensor, *, eps: float) -> F64:
    """float64, not quantised."""
    a = Activations(values=rms_norm.ideal(x, weight, eps=eps), quantized=None)
    return swiglu.ideal(matmul.ideal(a, gate), matmul.ideal(a, up))
