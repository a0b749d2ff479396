"""Scale each head to unit root mean square, then by weight (NUMERICS 4).

Shapes    x (rows, heads, head_dim), weight (head_dim,) -> the shape of x; eps is a float32 value
Rounding  as rms_norm
Order     32 fmaf chains of stride 32, then a tree
Edges     as rms_norm, head by head
"""

from __future__ import annotations

from reference.floats import F32, F64, Array, single
from reference.ops import rms_norm

CHAINS = 32


def exact(x: Array, weight: Array, *, eps: float) -> F32:
    """float32, in the order of NUMERICS 4."""
    return rms_norm.normalise(single(x), single(weight), eps, CHAINS)


def ideal(x: Array, weight: Array, *, eps: float) -> F64:
    """float64."""
    return rms_norm.ideal(x, weight, eps=eps)
