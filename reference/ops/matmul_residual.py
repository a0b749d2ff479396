"""The residual plus a product of one row, and the norm behind it up to the scale of the row (NUMERICS 6, 7, 4 and 5).

Shapes    a (1, cols), weight (dim, cols), x (1, dim), gains (dim,), dim a multiple of 32 -> the new x (1, dim);
          codes (1, dim), scales and sums (1, dim / 32) of x by gains; squares (dim / 32,)
Rounding  that of matmul, add and quantize; one product with the gain; that of the squares
Order     that of the matmul; the residual last; a tree over the squares of each block of 32
Edges     those of matmul and quantize
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reference.floats import F32, Array, single, squares_of_blocks
from reference.ops import add, matmul, quantize
from reference.ops.activations import Activations
from reference.spec.model import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Residual:
    """A row of the residual stream, and what rms_norm_quantize makes of it before its scale."""

    x: F32
    quantized: quantize.Quantized
    squares: F32


@np.errstate(all="ignore")
def exact(a: Activations, weight: Tensor, x: Array, gains: Array) -> Residual:
    """float32."""
    y = add.exact(matmul.exact(a, weight), x)
    return Residual(x=y, quantized=quantize.exact(y * single(gains)), squares=squares_of_blocks(y)[0])


def ideal(a: Activations, weight: Tensor, x: Array, gains: Array) -> Array:
    """float64: the new x. The ideal norm is taken of it as a whole."""
    return add.ideal(matmul.ideal(a, weight), x)
