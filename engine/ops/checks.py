"""What every launcher checks before a launch. A fault is a LaunchError of one line that names op and argument."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from engine.device import Buffer, LaunchError

THREADS = 256  # threads of a block where a kernel does not ask for another number
WARPS = THREADS // 32
MOST_ITEMS = 2**30  # item + grid stride stays below 2^31


def require(op: str, name: str, buffer: Buffer, shape: Sequence[int | None], *dtypes: DTypeLike) -> tuple[int, ...]:
    """The shape of `buffer`, which must be `shape` (None: any size from 1 up) and hold one of `dtypes`."""
    given = buffer.shape
    fits = len(given) == len(shape) and all(
        size >= 1 and wanted in (None, size) for size, wanted in zip(given, shape, strict=True)
    )
    if not fits or buffer.dtype not in [np.dtype(dtype) for dtype in dtypes]:
        sizes = ", ".join("any" if wanted is None else str(wanted) for wanted in shape)
        kinds = " or ".join(str(np.dtype(dtype)) for dtype in dtypes)
        expected = f"{kinds} ({sizes}{',' if len(shape) == 1 else ''})"
        raise LaunchError(f"{op}: {name} is {buffer.dtype} {given}, expected {expected}")
    return given


def require_arrivals(op: str, arrivals: Buffer, count: int) -> None:
    """Room for `count` counters of last_to_arrive (portable.cuh), whatever the shape."""
    if arrivals.dtype != np.int32 or arrivals.nbytes < 4 * count:
        raise refuse(op, f"arrivals is {arrivals.dtype} {arrivals.shape}, expected at least {count} int32 values")


def refuse(op: str, reason: str) -> LaunchError:
    """The error for what `require` cannot say."""
    return LaunchError(f"{op}: {reason}")


def int32(op: str, name: str, value: int) -> np.int32:
    """A size as a kernel argument."""
    if not 0 <= value < 2**31:
        raise refuse(op, f"{name} is {value}, expected 0 .. {2**31 - 1}")
    return np.int32(value)


def blocks(items: int, per_block: int = 1) -> int:
    """The grid for `items` work items; kernels walk them with a grid stride, so a smaller grid is right too.

    Kernels count items in 32 bits: more than MOST_ITEMS raise LaunchError.
    """
    if items > MOST_ITEMS:
        raise LaunchError(f"{items} work items in one launch, expected at most {MOST_ITEMS}")
    return max(1, -(-items // per_block))
