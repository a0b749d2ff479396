"""Launches rope (engine/kernels/rope.cu, NUMERICS 8)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, refuse, require


def rope(stream: Stream, x: Buffer, cos: Buffer, sin: Buffer, position: Buffer) -> None:
    """x (rows, heads, head_dim) float32, rotated in place; row r is at position + r.

    cos, sin (positions, n_rot / 2) float32 with n_rot <= head_dim; position (1,) int32. A row past the tables keeps its
    values; sessions refuse such a step before it starts.
    """
    rows, heads, head_dim = require("rope", "x", x, (None, None, None), np.float32)
    positions, pairs = require("rope", "cos", cos, (None, None), np.float32)
    require("rope", "sin", sin, (positions, pairs), np.float32)
    require("rope", "position", position, (1,), np.int32)
    if not 2 * pairs <= head_dim:
        raise refuse("rope", f"the tables turn {2 * pairs} values of a head, expected at most {head_dim}")
    sizes = (
        int32("rope", "rows", rows), int32("rope", "heads", heads), int32("rope", "head_dim", head_dim),
        int32("rope", "pairs", pairs), int32("rope", "positions", positions),
    )  # fmt: skip
    args = (x, cos, sin, position, *sizes)
    stream.launch("rope", "rope", grid=blocks(rows * heads, WARPS), block=THREADS, args=args)
