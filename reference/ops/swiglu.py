"""gate / (1 + exp(-gate)) * up (NUMERICS 11).

Shapes    gate, up (rows, ff) -> (rows, ff)
Rounding  exp32, sum, quotient, product
Order     none
Edges     exp32 ends at exp(88): a gate below -88 gives about gate * 6e-39, not 0, and -infinity gives -infinity * up
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, exp32, single


@np.errstate(all="ignore")
def exact(gate: Array, up: Array) -> F32:
    """float32."""
    return single(gate) / (np.float32(1) + exp32(-single(gate))) * single(up)


@np.errstate(all="ignore")
def ideal(gate: Array, up: Array) -> F64:
    """float64."""
    gate = gate.astype(np.float64)
    product: F64 = gate / (1 + np.exp(-gate)) * up.astype(np.float64)
    return product
