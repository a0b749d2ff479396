"""Move on to the next token: the step that lets one captured graph serve every position.

Shapes    next_token, token, position, count (1,) int32; tokens_out (any,) int32; all but next_token are written
Rounding  none
Order     none
Edges     a full tokens_out keeps what it holds; count goes on counting
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Int32 = NDArray[np.int32]


def exact(next_token: Int32, *, token: Int32, position: Int32, tokens_out: Int32, count: Int32) -> None:
    """token is the next one, position one on, and the token is noted in tokens_out at count."""
    token[0] = next_token[0]
    position[0] += 1
    if count[0] < len(tokens_out):
        tokens_out[count[0]] = next_token[0]
    count[0] += 1


def ideal(next_token: Int32, *, token: Int32, position: Int32, tokens_out: Int32, count: Int32) -> None:
    """The same."""
    exact(next_token, token=token, position=position, tokens_out=tokens_out, count=count)
