"""rms_norm, quantize, then matmul_group (NUMERICS 4, 5, 6 and 7): the composition of the three.

Shapes    x (rows, dim), weight (dim,), weights (outputs, dim) each, dim a multiple of 32, added None or as add takes it
          -> (rows, outputs) each
Rounding  those of the parts
Order     those of rms_norm and matmul_group
Edges     those of the parts
"""

from __future__ import annotations

from collections.abc import Sequence

from reference.floats import F32, F64, Array
from reference.ops import matmul_group, quantize, rms_norm
from reference.ops.activations import Activations
from reference.spec.model import Tensor


def exact(x: Array, weight: Array, weights: Sequence[Tensor], added: Sequence[Array | None], *, eps: float) -> list[F32]:
    """float32."""
    h = rms_norm.exact(x, weight, eps=eps)
    return matmul_group.exact(Activations(values=h, quantized=quantize.exact(h)), weights, added)


def ideal(x: Array, weight: Array, weights: Sequence[Tensor], added: Sequence[Array | None], *, eps: float) -> list[F64]:
    """float64, not quantised."""
    return matmul_group.ideal(Activations(values=rms_norm.ideal(x, weight, eps=eps), quantized=None), weights, added)
