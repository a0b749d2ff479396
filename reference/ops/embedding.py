"""The rows of the embedding table that the tokens name (NUMERICS 3).

Shapes    tokens (rows,) int32, table (vocab, dim) of any weight type -> (rows, dim)
Rounding  dequantisation only: the product of scale and code, and for Q4_K and Q5_K the difference
Order     none: element by element
Edges     a NaN or infinite scale gives a NaN or infinite block; a token outside the table raises IndexError
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.floats import F32, F64
from reference.quant import dequantize
from reference.spec.model import Tensor


def exact(tokens: NDArray[np.integer[Any]], table: Tensor) -> F32:
    """Dequantised rows, float32."""
    if not ((tokens >= 0) & (tokens < table.shape[0])).all():
        raise IndexError(f"tokens {tokens.min()} .. {tokens.max()}, the table has {table.shape[0]} rows")
    return dequantize(replace(table, shape=(len(tokens), table.shape[1]), data=table.data[tokens]))


def ideal(tokens: NDArray[np.integer[Any]], table: Tensor) -> F64:
    """The same rows: what a stored weight means is not approximated."""
    return exact(tokens, table).astype(np.float64)
