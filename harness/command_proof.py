"""What is asked of an engine that is not ours: the oracle's logits within its bound, and agreement with itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.command_engine import NOT_PROVIDED, LogitBound
from harness.compare import Comparison, compare
from harness.quality import logit_quality
from harness.schema import Check, When

AGAIN, ONE_BY_ONE = "again = first", "one by one = at once"
ORACLES = ("command = ideal", "command = exact")

Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How far logits are from the oracle's."""

    within: bool
    text: str
    bounds: str  # "NMSE 1e-10, mean KL 1e-08"; empty: by bits


def against_oracle(logits: Logits, expected: NDArray[Any], bound: LogitBound, when: When) -> Check:
    """By bits, or within the bounds; a bound that fails counts every value that differs by bits."""
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(expected, np.float32)
    return _check(f"command = {bound.against}", when, logits, rounded, expected, bound)


def with_itself(name: str, logits: Logits, first: Logits, bound: LogitBound | None, when: When) -> Check:
    """Two ways of the same engine: by bits, or within the bound that it has against the oracle."""
    return _check(name, when, logits, first, first, bound or LogitBound())


def not_provided(name: str, when: When) -> Check:
    return Check(name=name, when=when, status="not_applicable", reason=NOT_PROVIDED)


def _check(name: str, when: When, left: Logits, right: Logits, wide: NDArray[Any], bound: LogitBound) -> Check:
    found = compare(left, right)
    figures = _figures(left, wide, found.worst_ulp, bound)
    passed = found.same if bound.by_bits else figures.within and found.values > 0
    return Check(
        name=name,
        when=when,
        status="passed" if passed else "failed",
        reason="" if passed else _why(found, figures),
        values=found.values,
        differing=0 if passed else found.differing,
        worst_ulp=found.worst_ulp,
        first_difference="" if passed else found.first_difference,
        left=figures.text,
        bound=figures.bounds,
    )


def _why(found: Comparison, figures: Figures) -> str:
    asked = f"; expected at most {figures.bounds}" if figures.bounds else ""
    return f"{found.differing} of {found.values} values differ: {figures.text}{asked}"


def _figures(left: Logits, right: NDArray[Any], worst_ulp: int | None, bound: LogitBound) -> Figures:
    quality = logit_quality(left, right.astype(np.float64))
    measured: list[tuple[str, float | int | None, float | None]] = [
        ("NMSE", quality.nmse, bound.nmse),
        ("mean KL", quality.kl_mean, bound.kl),
        ("worst ulp", worst_ulp, bound.ulps),
    ]
    # Written so that a NaN, or a figure that cannot be had, fails.
    within = all(most is None or (value is not None and value <= most) for _, value, most in measured)
    words = [_measured(name, value) for name, value, _ in measured]
    words.append(f"same top token at {quality.top1_same} of {quality.positions} positions")
    bounds = [f"{name} {most:g}" for name, _, most in measured if most is not None]
    return Figures(within=within, text=", ".join(words), bounds=", ".join(bounds))


def _measured(name: str, value: float | int | None) -> str:
    if value is None:
        return f"{name} unknown"
    return f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.3g}"
