"""A user's kernel against an op: what is asked, what is answered, and when an output is right."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.compare import bits, compare, ordered
from harness.quality import relative_square_error

Against = Literal["exact", "ideal"]
Outcome = Literal["passed", "differs", "out of bounds", "crashed", "checker"]


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """How far an output may be from the oracle's. By default not at all: equal by bits."""

    ulps: int = 0  # of float32, element by element
    nmse: float | None = None  # sum (left - right)^2 / sum right^2 over an output


class KernelCall(msgspec.Struct, frozen=True, kw_only=True):
    """What the command was asked for. Texts of sizes are expressions; empty: as the op has them."""

    source: str  # path of the .cu file
    op: str
    entry: str
    device: str  # "host" | "cuda"
    arguments: tuple[str, ...] = ()
    grid: str = ""
    block: str = ""
    shared: str = "0"
    grids: tuple[int, ...] = ()  # every case again on exactly so many blocks
    check: bool = False  # under the host device's access checker
    against: Against = "exact"
    bound: Bound = Bound()
    case: str = ""  # only the case of this name


class CaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """One case of an op on one grid. `values` and the rest count elements of all outputs together."""

    case: str
    grid: int
    outcome: Outcome
    reason: str = ""  # one line, empty when passed
    values: int = 0
    differing: int = 0  # by bits
    worst_ulp: int | None = None  # None: an infinite or NaN value differs, or nothing was compared
    nmse: float | None = None  # None where nothing finite was compared, or the output is of whole numbers
    first_difference: str = ""
    reports: tuple[str, ...] = ()  # everything the access checker saw


class KernelAnswer(msgspec.Struct, frozen=True, kw_only=True, tag="kernel"):
    """What a worker process found. `refused` holds a compiler's message or a launch that does not fit, else empty."""

    results: tuple[CaseResult, ...] = ()
    refused: str = ""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One output against the oracle's."""

    within: bool  # the bound; NaN and infinities must stand where the oracle has them
    values: int
    differing: int
    worst_ulp: int | None
    nmse: float | None
    first: str


def judged(name: str, got: NDArray[Any], expected: NDArray[Any], bound: Bound) -> Difference:
    """Compare one output. Whole numbers must be equal; float64 of the ideal form is rounded for bits and ulps."""
    if got.dtype != np.float32:
        return _whole(name, got, expected)
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(expected, np.float32)
    found = compare(got, rounded)
    finite = np.isfinite(got) & np.isfinite(rounded)
    same = bits(got) == bits(rounded)
    close = same | (finite & (np.abs(ordered(got) - ordered(rounded)) <= bound.ulps))
    with np.errstate(all="ignore"):
        error = relative_square_error(got[finite], expected.astype(np.float64)[finite]) if finite.any() else None
    as_a_whole = bound.nmse is not None and error is not None and error <= bound.nmse and bool((same | finite).all())
    first = ""
    if found.differing:
        shown = np.flatnonzero(~close)
        at = int(shown[0] if shown.size else np.flatnonzero(~same)[0])
        first = f"{name}{_index(at, got.shape)}: {got.flat[at]:.9g} for {rounded.flat[at]:.9g}"
    return Difference(
        within=found.values > 0 and (bool(close.all()) or as_a_whole),
        values=found.values,
        differing=found.differing,
        worst_ulp=found.worst_ulp if bool((same | finite).all()) else None,
        nmse=error,
        first=first,
    )


def _whole(name: str, got: NDArray[Any], expected: NDArray[Any]) -> Difference:
    wrong = np.flatnonzero(got != expected)
    first = ""
    if wrong.size:
        at = int(wrong[0])
        first = f"{name}{_index(at, got.shape)}: {got.flat[at]} for {expected.flat[at]}"
    return Difference(
        within=got.size > 0 and not wrong.size,
        values=got.size,
        differing=int(wrong.size),
        worst_ulp=None if wrong.size else 0,
        nmse=None,
        first=first,
    )


def _index(flat: int, shape: tuple[int, ...]) -> str:
    return "[" + ", ".join(str(int(i)) for i in np.unravel_index(flat, shape)) + "]"
