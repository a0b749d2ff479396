"""A model of what moves times on a machine, to try rules on: samples, processes, the host, drift, blips.

All are in logarithms, so 0.01 is 1 %. A pair is two fresh processes; a process is the median of its samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Order = Literal["abba", "base then head"]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Standard deviations, unless said otherwise. The defaults are a machine of noise class "normal"."""

    process: float = 0.007  # of fresh processes of the same program
    sample: float = 0.01  # of samples within one process
    host: float = 0.015  # of a run: where it ran, and when
    drift: float = 0.02  # at most, over a run of 16 pairs, either way
    blips: float = 0.02  # share of samples that something held up
    blip: float = 0.2  # mean of how much, exponential
    tail: float = math.inf  # degrees of freedom of the processes' t distribution; infinite: normal
    correlation: float = 0.0  # of a process with the one before it
    slow: float = 0.0  # share of processes that are in a slower state from beginning to end
    slow_by: float = 0.0  # how much slower that is
    samples: int = 50  # in a process


def run(
    noise: Noise, rng: np.random.Generator, *, slowdown: float, trials: int, pairs: int, order: Order = "abba"
) -> tuple[Floats, Floats]:
    """Samples of base and of head, (trials, pairs, samples), of `trials` runs in which head is slower by `slowdown`."""
    levels = _levels(noise, rng, trials, 2 * pairs)
    samples = levels[:, :, None] + noise.sample * rng.standard_normal((trials, 2 * pairs, noise.samples))
    held_up = rng.random(samples.shape) < noise.blips
    samples[held_up] += rng.exponential(noise.blip, np.count_nonzero(held_up))
    base = places(pairs, order)
    head = np.setdiff1d(np.arange(2 * pairs), base)
    if order == "abba":
        head = np.arange(2 * pairs).reshape(pairs, 2).sum(axis=1) - base
    return samples[:, base], samples[:, head] + math.log1p(slowdown)


def paired(
    noise: Noise, rng: np.random.Generator, *, slowdown: float, trials: int, pairs: int, order: Order = "abba"
) -> Floats:
    """Log ratios of the medians of head and base, (trials, pairs)."""
    base, head = run(noise, rng, slowdown=slowdown, trials=trials, pairs=pairs, order=order)
    ratios: Floats = np.median(head, axis=2) - np.median(base, axis=2)
    return ratios


def places(pairs: int, order: Order) -> NDArray[np.int64]:
    """Which of all processes in time are base's, pair by pair: AB, BA, BA, AB, and again; or all before head's."""
    pair = np.arange(pairs)
    return 2 * pair + np.isin(pair % 4, (1, 2)) if order == "abba" else pair


def _levels(noise: Noise, rng: np.random.Generator, trials: int, processes: int) -> Floats:
    """What each process adds to the truth, in the order of time."""
    own = rng.standard_normal((trials, processes))
    if noise.tail < math.inf:  # scaled to the standard deviation that a normal one would have
        own = rng.standard_t(noise.tail, (trials, processes)) * math.sqrt((noise.tail - 2) / noise.tail)
    for i in range(1, processes if noise.correlation else 0):
        own[:, i] = noise.correlation * own[:, i - 1] + math.sqrt(1 - noise.correlation**2) * own[:, i]
    if noise.slow:
        own += (rng.random(own.shape) < noise.slow) * math.log1p(noise.slow_by) / noise.process
    slope = rng.uniform(-noise.drift, noise.drift, (trials, 1)) / 32
    levels: Floats = noise.process * own + slope * np.arange(processes) + noise.host * rng.standard_normal((trials, 1))
    return levels
