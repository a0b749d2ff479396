"""Store the keys and values of this step (NUMERICS 9).

Shapes    k, v (rows, kv_heads, head_dim); keys, values (kv_heads, context, head_dim), written at position ...
Rounding  none in float32; once in float16
Order     none
Edges     past float16's range (65520 and up) infinity; NaN stays NaN; past the context IndexError, nothing written
"""

from __future__ import annotations

import numpy as np

from reference.floats import Array, single


@np.errstate(all="ignore")
def exact(k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
    """Writes into `keys` and `values`, float32 or float16."""
    if keys.dtype not in (np.float32, np.float16) or values.dtype != keys.dtype:
        raise TypeError(f"the cache is {keys.dtype} and {values.dtype}, expected float32 or float16")
    _store(single(k), position, keys)
    _store(single(v), position, values)


def ideal(k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
    """Writes into `keys` and `values`, float64: nothing is rounded."""
    _store(k.astype(np.float64), position, keys)
    _store(v.astype(np.float64), position, values)


def _store(new: Array, position: int, cache: Array) -> None:
    stop = position + len(new)
    if not 0 <= position <= stop <= cache.shape[1]:
        raise IndexError(f"positions {position} .. {stop - 1}, the cache holds {cache.shape[1]}")
    cache[:, position:stop] = new.swapaxes(0, 1).astype(cache.dtype)
