"""Whether a canary says that the machine changed between the arms: a shift of the processes of one, and it is shown.

The unit is a fresh process, as in harness.statistics. Something slows single ones: a matvec by 1 %, in one process of
five on an H200, and an empty graph behind other kernels by 27 %, in one of seven. That moves a mean, and is no change
between the arms. `harness.simulate` shows the error rates of exactly this rule.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.statistics import Policy

Floats = NDArray[np.float64]

CONFIDENCE = 1.96  # normal quantile of the interval of a shift: 95 %, two-sided
APART = math.log(1.05)  # a process this far above the fastest one is in another state than that


def canary_moved(base: Floats, head: Floats, policy: Policy) -> NDArray[np.bool_]:
    """Of each run: `base` and `head` hold logarithms of times, (runs, processes of the arm).

    Moved are shifts above the limit that the fastest process of each arm agrees with, or that the ranks show
    (Mann and Whitney, two-sided). A run with a time that is none has moved.
    """
    limit = math.log1p(policy.canary)
    small = np.abs(np.median(_differences(base, head), axis=1)) <= limit
    fastest = np.abs(head.min(axis=1) - base.min(axis=1)) <= limit
    unshown = stats.mannwhitneyu(base, head, axis=1).pvalue >= policy.canary_alpha
    moved: NDArray[np.bool_] = ~(small | (fastest & unshown))
    return moved


def canary_shift(base: Floats, head: Floats) -> tuple[float, float, float]:
    """Of one run, (processes of the arm) each: the median of all differences of head and base, and its interval.

    By Hodges and Lehmann. The interval is that of the rank test with 95 % in its normal approximation; of four
    processes an arm it is all that was seen, 97 %.
    """
    found = np.sort(_differences(base[None], head[None])[0])
    spread = math.sqrt(found.size * (len(base) + len(head) + 1) / 12)
    place = max(1, math.floor(found.size / 2 - CONFIDENCE * spread))
    return float(np.median(found)), float(found[place - 1]), float(found[-place])


def in_another_state(base: Floats, head: Floats) -> int:
    """How many processes of one run are far slower than its fastest."""
    every = np.concatenate([base, head])
    return int(np.count_nonzero(every > every.min() + APART))


def _differences(base: Floats, head: Floats) -> Floats:
    """Of every process of head and every one of base, (runs, both numbers multiplied)."""
    found: Floats = (head[:, :, None] - base[:, None, :]).reshape(len(base), -1)
    return found
