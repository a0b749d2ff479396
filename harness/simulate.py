"""Error rates of the gate's rule by simulation; `python -m harness.simulate` prints the tables of docs/gate.md.

The rule is harness.statistics itself, the noise is harness.noise_model. All is seeded: the same numbers each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.canary_rule import canary_moved
from harness.noise_model import Noise, Order, paired, run
from harness.statistics import CANNOT_TELL, SAME, SLOWER, Policy, confirmed, decide

BASE_US = 1000.0  # large enough that the absolute floor is not what decides
CHUNK = 1000  # trials at once: 13 MB of samples


@dataclass(frozen=True, kw_only=True)
class Rates:
    """How often each verdict came up; `confirmed` counts those slower that 8 fresh pairs of another run agree with."""

    trials: int
    slower: int
    same: int
    cannot_tell: int
    confirmed: int
    mean_pairs: float  # of the first measurement

    def share(self, count: int) -> float:
        return count / self.trials

    def interval(self, count: int, confidence: float = 0.95) -> tuple[float, float]:
        """Of the true share, by Clopper and Pearson."""
        found = stats.binomtest(count, self.trials).proportion_ci(confidence, method="exact")
        return float(found.low), float(found.high)


def gate_rates(noise: Noise, *, slowdown: float, trials: int, policy: Policy, seed: int = 0) -> Rates:
    """What the gate says of a row whose head is slower by `slowdown` (0.03 is 3 %)."""
    rng = np.random.default_rng(seed)
    counts, sure, spent = np.zeros(4, dtype=np.int64), 0, 0
    for some in _chunks(trials):
        logs = paired(noise, rng, slowdown=slowdown, trials=some, pairs=policy.looks[-1])
        codes, pairs = decide(logs, BASE_US * np.expm1(logs), policy)
        counts += np.bincount(codes, minlength=4)
        spent += int(pairs.sum())
        slow = int(np.count_nonzero(codes == SLOWER))
        if slow:
            fresh = paired(noise, rng, slowdown=slowdown, trials=slow, pairs=policy.confirm_pairs)
            sure += int(np.count_nonzero(confirmed(fresh, policy)))
    return Rates(
        trials=trials,
        slower=int(counts[SLOWER]),
        same=int(counts[SAME]),
        cannot_tell=int(counts[CANNOT_TELL]),
        confirmed=sure,
        mean_pairs=spent / trials,
    )


def one_process_alarms(noise: Noise, *, trials: int, alpha: float, seed: int = 0) -> float:
    """False alarms of a t test on the samples of one process of each arm: what the gate does not do."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for some in _chunks(trials):
        base, head = run(noise, rng, slowdown=0.0, trials=some, pairs=1)
        test = stats.ttest_ind(head[:, 0], base[:, 0], axis=1, alternative="greater")
        alarms += int(np.count_nonzero(test.pvalue < alpha))
    return alarms / trials


def paired_alarms(noise: Noise, *, trials: int, pairs: int, alpha: float, order: Order, seed: int = 0) -> float:
    """False alarms of one t test on log ratios of medians, without looks or floor, in an order of the processes."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for some in _chunks(trials):
        logs = paired(noise, rng, slowdown=0.0, trials=some, pairs=pairs, order=order)
        test = stats.ttest_1samp(logs, 0.0, axis=1, alternative="greater")
        alarms += int(np.count_nonzero(test.pvalue < alpha))
    return alarms / trials


def canary_alarms(noise: Noise, *, trials: int, pairs: int, policy: Policy, shift: float = 0.0, seed: int = 0) -> float:
    """How often one canary says that the machine has moved between the arms, where it did by `shift` (0.01 is 1 %)."""
    rng = np.random.default_rng(seed)
    moved: list[NDArray[np.bool_]] = []
    for some in _chunks(trials):
        base, head = run(noise, rng, slowdown=shift, trials=some, pairs=pairs)
        moved.append(canary_moved(np.median(base, axis=2), np.median(head, axis=2), policy))
    return float(np.concatenate(moved).mean())


def _chunks(trials: int) -> Iterator[int]:
    for start in range(0, trials, CHUNK):
        yield min(CHUNK, trials - start)


if __name__ == "__main__":
    from harness.calibration import main

    main()
