"""Scale each head to unit root mean square, then by weight (NUMERICS 4).

Shapes    x (rows, heads, head_dim), weight (head_dim,) -> the shape of x; eps is a float32 value
Rounding  every operation of the sum; mean, sum with eps, root, reciprocal; two products per element, the scale's first
Order     32 fmaf chains of stride 32, then a tree
Edges     as rms_norm, head by head; a product with the weight overflows only where the result does
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, single, squares_by_chains
from reference.ops import rms_norm


@np.errstate(all="ignore")
def exact(x: Array, weight: Array, *, eps: float) -> F32:
    """float32, in the order of NUMERICS 4."""
    scale = rms_norm.reciprocal_root(squares_by_chains(single(x)), x.shape[-1], eps)
    return single(x) * scale[..., None] * single(weight)


def ideal(x: Array, weight: Array, *, eps: float) -> F64:
    """float64."""
    return rms_norm.ideal(x, weight, eps=eps)
