"""The token of the largest logit of each row (NUMERICS 12).

Shapes    logits (rows, vocab) -> (rows,) int32
Rounding  none
Order     none: the lowest index wins a tie, -0 and +0 being equal
Edges     a row with a NaN gives the lowest index of a NaN
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference.floats import Array


def exact(logits: Array) -> NDArray[np.int32]:
    """Of float32 logits."""
    largest = np.max(logits, axis=-1, keepdims=True)  # NaN if any is
    found = np.where(np.isnan(largest), np.isnan(logits), logits == largest)
    token: NDArray[np.int32] = np.argmax(found, axis=-1).astype(np.int32)
    return token


def ideal(logits: Array) -> NDArray[np.int32]:
    """Of float64 logits: the same."""
    return exact(logits)
