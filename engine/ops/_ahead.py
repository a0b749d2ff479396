"""Weights that a launch brings into L2 for the launches behind it (engine/kernels/ahead.cuh). No result depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.device import KernelArgument
from engine.weights import Weight

MOST = 3  # weights
MOST_BYTES = 16 * 2**20  # of all of them: what memory delivers meanwhile, and well below what L2 holds


def ahead_arguments(weights: Sequence[Weight]) -> list[KernelArgument]:
    """Three pointers and three byte counts, in the order of use: later weights get what is left of MOST_BYTES."""
    left = MOST_BYTES
    pointers: list[KernelArgument] = []
    counts: list[KernelArgument] = []
    for weight in weights[:MOST]:
        count = min(left, weight.buffer.nbytes)
        left -= count
        pointers.append(weight.buffer)
        counts.append(np.int64(count))
    missing = MOST - len(pointers)
    return [*pointers, *[None] * missing, *counts, *[np.int64(0)] * missing]
