"""Comparing two arrays of float32 bit by bit. A NaN equals a NaN (whatever its payload) and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CANONICAL_NAN = np.uint32(0x7FC00000)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two arrays have in common. `same` is false when nothing was compared."""

    values: int
    differing: int
    worst_ulp: int | None  # largest distance where both are finite; None where no finite pair differs
    first_difference: str  # index and both values of the first and of the worst element; empty when all are the same

    @property
    def same(self) -> bool:
        return self.values > 0 and self.differing == 0


def compare(left: NDArray[np.float32], right: NDArray[np.float32]) -> Comparison:
    """Compare by bits. A difference in shape differs in every value; float32 is required (TypeError otherwise)."""
    if left.dtype != np.float32 or right.dtype != np.float32:
        raise TypeError(f"compare by bits needs float32, got {left.dtype} and {right.dtype}")
    if left.shape != right.shape:
        most = max(left.size, right.size)
        text = f"shape {left.shape} against {right.shape}"
        return Comparison(values=most, differing=most, worst_ulp=None, first_difference=text)
    if np.array_equal(left.view(np.uint32), right.view(np.uint32)):  # without a copy: logits are hundreds of megabytes
        return Comparison(values=left.size, differing=0, worst_ulp=0, first_difference="")
    finite = np.isfinite(left) & np.isfinite(right)
    differs = bits(left) != bits(right)
    distance = np.where(differs & finite, np.abs(ordered(left) - ordered(right)), 0)
    differing = int(np.count_nonzero(differs))
    worst = int(distance.max()) if differing else 0
    return Comparison(
        values=left.size,
        differing=differing,
        worst_ulp=worst if worst or not differing else None,
        first_difference=_describe(left, right, differs, distance) if differing else "",
    )


def bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The bit patterns, every NaN replaced by the canonical one."""
    return np.where(np.isnan(values), CANONICAL_NAN, np.ascontiguousarray(values).view(np.uint32))


def ordered(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Whole numbers in the order of the floats, neighbours one apart; -0 and +0 are neighbours (-1 and 0)."""
    pattern = np.ascontiguousarray(values).view(np.int32).astype(np.int64)
    return np.where(pattern < 0, -1 - (pattern & 0x7FFFFFFF), pattern)


def _describe(
    left: NDArray[np.float32], right: NDArray[np.float32], differs: NDArray[np.bool_], distance: NDArray[np.int64]
) -> str:
    first = _element(left, right, int(np.flatnonzero(differs)[0]))
    worst = int(distance.argmax())
    if not distance.flat[worst]:
        return first
    return f"{first}; worst {_element(left, right, worst)}, {int(distance.flat[worst])} ulp"


def _element(left: NDArray[np.float32], right: NDArray[np.float32], flat: int) -> str:
    index = ", ".join(str(int(i)) for i in np.unravel_index(flat, left.shape))
    return f"[{index}]: {left.flat[flat]:.9g} against {right.flat[flat]:.9g}"


def joined(parts: Iterable[tuple[str, Comparison]]) -> Comparison:
    """Several named comparisons as one; the first difference carries its name."""
    values = differing = 0
    worst: int | None = 0
    first = ""
    for name, part in parts:
        values += part.values
        differing += part.differing
        if part.differing:
            first = first or f"{name} {part.first_difference}"
            worst = None if worst is None or part.worst_ulp is None else max(worst, part.worst_ulp)
    return Comparison(values=values, differing=differing, worst_ulp=worst, first_difference=first)
