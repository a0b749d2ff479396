"""Seeded inputs of single operations: the suites and a user's kernel meet the same awkward values and shapes."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
Kind = Literal["normal", "outliers", "zeros", "subnormal", "one NaN", "one infinity"]

KINDS: tuple[Kind, ...] = ("normal", "outliers", "zeros", "subnormal", "one NaN", "one infinity")

# Shapes with 1, odd and coprime sizes, and those at a warp, a block or a tile, before and past it.
RMS_NORM = (
    (1, 1), (3, 5), (2, 31), (1, 32), (17, 33), (7, 96), (3, 255), (3, 256), (64, 257), (5, 704), (2, 1023), (17, 2048),
    (64, 2048), (2, 2112), (1, 5120),
)  # fmt: skip
QK_NORM = (
    (1, 1, 32), (1, 16, 128), (3, 16, 256), (17, 16, 256), (64, 16, 256), (40, 4, 256), (5, 3, 34), (2, 7, 80),
    (3, 5, 66), (1, 1, 6), (33, 2, 96),
)  # fmt: skip
# rows, heads, head_dim, n_rot, position
ROPE = (
    (1, 1, 32, 32, 0), (3, 5, 256, 64, 0), (17, 16, 128, 128, 37), (64, 2, 256, 64, 512), (2, 3, 34, 34, 5),
    (1, 16, 128, 128, 1023), (5, 7, 80, 66, 100), (33, 1, 96, 2, 9),
)  # fmt: skip
SWIGLU = ((1, 1), (3, 5), (17, 33), (2, 255), (5, 1024), (3, 1025), (64, 257), (1, 12288), (33, 704))


def generator(case: object) -> np.random.Generator:
    """Seeded from the case alone, so that a case run by itself has the same bits."""
    return np.random.default_rng(zlib.crc32(repr(case).encode()))


def values(case: object, *shape: int, kind: Kind = "normal") -> F32:
    """Normal values of deviation 1 in which a few places, or all, are what `kind` says."""
    rng = generator((case, shape, kind))
    x = rng.standard_normal(shape).astype(np.float32)
    spots = rng.integers(0, x.size, max(1, x.size // 61))
    match kind:
        case "outliers":
            x.flat[spots] *= np.float32(2.0**20)
        case "zeros":
            x[..., : shape[-1] // 2] = 0
            x.flat[spots] = -0.0
        case "subnormal":
            x *= np.float32(2.0**-134)
        case "one NaN":
            x.flat[spots[0]] = np.nan
        case "one infinity":
            x.flat[spots[0]] = -np.inf
    return x


def rope_tables(positions: int, pairs: int) -> tuple[F32, F32]:
    """cos and sin of random angles, (positions, pairs)."""
    angles = generator((positions, pairs)).uniform(-np.pi, np.pi, (positions, pairs))
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
