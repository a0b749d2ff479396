"""Sum of two arrays: the residual, or a bias (NUMERICS 7).

Shapes    x (rows, n), y (rows, n) or (n,) -> (rows, n)
Rounding  once
Order     none
Edges     IEEE 754: infinity - infinity is NaN, -0 + -0 is -0
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, single


@np.errstate(all="ignore")
def exact(x: Array, y: Array) -> F32:
    """float32."""
    return single(x) + single(y)


@np.errstate(all="ignore")
def ideal(x: Array, y: Array) -> F64:
    """float64."""
    return x.astype(np.float64) + y.astype(np.float64)
