"""Rotary position embedding, the two elements of a pair half a rotation width apart (NUMERICS 8).

Shapes    x (rows, heads, head_dim), cos and sin (positions, n_rot / 2) -> the shape of x;
          row r is at `position` + r, n_rot <= head_dim
Rounding  a product and an fmaf per element
Order     none
Edges     a NaN or an infinity stays within its pair; elements past n_rot are untouched; a row past the table raises
          IndexError
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, fma32, single


@np.errstate(all="ignore")
def exact(x: Array, cos: Array, sin: Array, position: int) -> F32:
    """float32."""
    c, s = single(rows_of(cos, position, len(x))), single(rows_of(sin, position, len(x)))
    half = c.shape[-1]
    a, b = single(x)[..., :half], single(x)[..., half : 2 * half]
    return np.concatenate([fma32(a, c, -(b * s)), fma32(b, c, a * s), single(x)[..., 2 * half :]], axis=-1)


@np.errstate(all="ignore")
def ideal(x: Array, cos: Array, sin: Array, position: int) -> F64:
    """float64."""
    c, s = rows_of(cos, position, len(x)).astype(np.float64), rows_of(sin, position, len(x)).astype(np.float64)
    half = c.shape[-1]
    x = x.astype(np.float64)
    a, b = x[..., :half], x[..., half : 2 * half]
    return np.concatenate([a * c - b * s, b * c + a * s, x[..., 2 * half :]], axis=-1)


def rows_of(table: Array, position: int, rows: int) -> Array:
    """The rows of a table (positions, pairs) for this step, (rows, 1, pairs)."""
    if not 0 <= position <= position + rows <= len(table):
        raise IndexError(f"positions {position} .. {position + rows - 1}, the table has {len(table)}")
    return table[position : position + rows, None, :]
