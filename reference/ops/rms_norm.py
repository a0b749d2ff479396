"""Scale each row to unit root mean square, then by weight (NUMERICS 4).

Shapes    x (rows, dim), weight (dim,) -> (rows, dim); eps is a float32 value
Rounding  every square and operation of the sum; mean, sum with eps, root, reciprocal; two products per element, the
          weight's first
Order     a tree over the squares of each block of 32, the blocks in 32 chains of stride 32, a tree over the chains
Edges     a zero row gives zeros; a NaN makes its own row NaN; an infinity gives NaN in its place and zeros beside it;
          squares that overflow (values past 1.8e19) give zeros; a product with the weight that overflows is infinite,
          NaN where the squares overflow too
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, single, squares_by_blocks


@np.errstate(all="ignore")
def exact(x: Array, weight: Array, *, eps: float) -> F32:
    """float32, in the order of NUMERICS 4."""
    return single(x) * single(weight) * row_scale(single(x), eps)[..., None]


def row_scale(x: F32, eps: float) -> F32:
    """What brings each row, (..., dim) -> (...), to unit root mean square: rms_norm_quantize takes the same."""
    return reciprocal_root(squares_by_blocks(x), x.shape[-1], eps)


@np.errstate(all="ignore")
def reciprocal_root(squares: F32, n: int, eps: float) -> F32:
    """1 / sqrt(mean + eps) of sums of n squares; qk_norm sums them in another order."""
    scale: F32 = np.float32(1) / np.sqrt(squares / np.float32(n) + np.float32(eps))
    return scale


@np.errstate(all="ignore")
def ideal(x: Array, weight: Array, *, eps: float) -> F64:
    """float64."""
    x = x.astype(np.float64)
    mean = np.mean(x * x, axis=-1, keepdims=True)
    y: F64 = x / np.sqrt(mean + np.float64(eps)) * weight.astype(np.float64)
    return y
