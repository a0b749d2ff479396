"""Scale each row to unit root mean square, then by weight (NUMERICS 4).

Shapes    x (rows, dim), weight (dim,) -> (rows, dim); eps is a float32 value
Rounding  every operation of the sum; mean, sum with eps, root, reciprocal; two products per element
Order     256 fmaf chains of stride 256, a tree within each 32 of them, the 8 groups from the left
Edges     a zero row gives zeros; a NaN makes its own row NaN; an infinity gives NaN in its place and zeros beside it;
          squares that overflow (values past 1.8e19) give zeros
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, single, squares

CHAINS = 256


def exact(x: Array, weight: Array, *, eps: float) -> F32:
    """float32, in the order of NUMERICS 4."""
    return normalise(single(x), single(weight), eps, CHAINS)


@np.errstate(all="ignore")
def normalise(x: F32, weight: F32, eps: float, chains: int) -> F32:
    """The formula over the last axis, which qk_norm shares with another number of chains."""
    mean = squares(x, chains) / np.float32(x.shape[-1])
    scale = np.float32(1) / np.sqrt(mean + np.float32(eps))
    y: F32 = (x * scale[..., None]) * weight
    return y


@np.errstate(all="ignore")
def ideal(x: Array, weight: Array, *, eps: float) -> F64:
    """float64."""
    x = x.astype(np.float64)
    mean = np.mean(x * x, axis=-1, keepdims=True)
    y: F64 = x / np.sqrt(mean + np.float64(eps)) * weight.astype(np.float64)
    return y
