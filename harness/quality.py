"""How far one computation is from another in figures that a reader can judge: the exact form against the ideal one.

Left is float32, the computation under test; right is float64, the yardstick. Bits are compared elsewhere
(harness/compare.py); here a difference is expected, and its size is what is asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.compare import ordered

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TapError:
    """One op's output in one layer, (rows, width).

    An op alone has the same inputs on both sides; carried is the whole model on both sides, so that it holds what all
    ops before added. A distance counts the float32 values between two: it is huge where a sum cancels to about zero.
    """

    op: str
    layer: int  # -1 outside the layers
    worst_ulp: int  # alone: largest distance in units in the last place of float32
    worst_index: tuple[int, int]  # row, element
    left: float  # the values there
    right: float
    alone_rms: float  # relative: sqrt(sum (left - right)^2 / sum right^2)
    carried_rms: float


@dataclass(frozen=True, kw_only=True)
class OpQuality:
    """An op over all its layers."""

    op: str
    layers: int  # how many outputs were looked at
    ulp: TapError  # the layer with the worst distance
    alone: TapError  # the layer with the largest relative error of the op alone
    carried: TapError  # the layer with the largest carried one


@dataclass(frozen=True, kw_only=True)
class LogitQuality:
    """The distributions over the next token. KL is sum p_right (log p_right - log p_left) of one position, in nats."""

    positions: int
    kl_mean: float
    kl_p99: float  # 99th percentile over the positions
    kl_max: float
    kl_max_position: int
    nmse: float  # sum (left - right)^2 / sum right^2 over all logits
    top1_same: int  # positions whose largest logit has the same id, ties to the lowest


def first_not_finite(values: NDArray[np.floating[Any]]) -> str:
    """Value and place of the first NaN or infinity, "NaN at [3, 17]"; empty if there is none."""
    finite = np.isfinite(values)
    if finite.all():
        return ""
    flat = int(np.flatnonzero(~finite)[0])
    index = ", ".join(str(int(i)) for i in np.unravel_index(flat, values.shape))
    value = float(values.flat[flat])
    return f"{'NaN' if np.isnan(value) else value} at [{index}]"


def tap_error(op: str, layer: int, left: F32, alone: F64, carried: F64) -> TapError:
    """The figures of one finite output, (rows, width): under test, and both yardsticks."""
    distance = np.abs(ordered(left) - ordered(alone.astype(np.float32)))
    row, element = (int(i) for i in np.unravel_index(int(distance.argmax()), distance.shape))
    return TapError(
        op=op,
        layer=layer,
        worst_ulp=int(distance[row, element]),
        worst_index=(row, element),
        left=float(left[row, element]),
        right=float(alone[row, element]),
        alone_rms=float(np.sqrt(relative_square_error(left, alone))),
        carried_rms=float(np.sqrt(relative_square_error(left, carried))),
    )


def by_op(errors: Iterable[TapError]) -> tuple[OpQuality, ...]:
    """The worst of each op over its layers, in the order in which the ops first occur."""
    found: dict[str, list[TapError]] = {}
    for error in errors:
        found.setdefault(error.op, []).append(error)
    return tuple(
        OpQuality(
            op=op,
            layers=len(mine),
            ulp=max(mine, key=lambda error: error.worst_ulp),
            alone=max(mine, key=lambda error: error.alone_rms),
            carried=max(mine, key=lambda error: error.carried_rms),
        )
        for op, mine in found.items()
    )


def logit_quality(left: F32, right: F64) -> LogitQuality:
    """The figures of finite logits, (positions, vocab) on both sides."""
    kl = kl_divergence(left, right)
    return LogitQuality(
        positions=len(kl),
        kl_mean=float(kl.mean()),
        kl_p99=float(np.percentile(kl, 99)),
        kl_max=float(kl.max()),
        kl_max_position=int(kl.argmax()),
        nmse=relative_square_error(left, right),
        top1_same=int(np.count_nonzero(left.argmax(axis=1) == right.argmax(axis=1))),
    )


def kl_divergence(left: F32, right: F64) -> F64:
    """Of each position, (positions,), in nats; float64. Rounding can leave it below zero by some 1e-16."""
    log_left, log_right = log_softmax(left.astype(np.float64)), log_softmax(right)
    divergence: F64 = np.sum(np.exp(log_right) * (log_right - log_left), axis=1)
    return divergence


def log_softmax(logits: F64) -> F64:
    """log p of each row, the largest logit taken out first."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: F64 = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    return result


def relative_square_error(left: F32, right: F64) -> float:
    """sum (left - right)^2 / sum right^2; 0 where both are zero, infinity where only the yardstick is."""
    wrong, size = float(np.sum(np.square(left - right))), float(np.sum(np.square(right)))
    return wrong / size if size else 0.0 if not wrong else float("inf")
