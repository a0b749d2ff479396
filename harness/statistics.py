"""The rule that a gate judges times by: a t interval on paired log ratios, looked at a few times.

The unit is a pair of fresh processes, one of each arm: samples of one process share its offset, and more of them only
make that offset look significant. `harness.simulate` shows the error rates of exactly the functions here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from harness.errors import BadCall

Floats = NDArray[np.float64]
Outcome = Literal["slower", "same", "more", "cannot_tell"]
Direction = Literal["slower", "faster"]
OUTCOMES: tuple[Outcome, ...] = ("slower", "same", "more", "cannot_tell")
SLOWER, SAME, MORE, CANNOT_TELL = range(4)  # places in OUTCOMES

VISIBLE_POWER = 0.9
VISIBLE_TRIALS = 2000  # the share of them that is seen has a standard error of 0.007 at a power of 0.9
VISIBLE_STEP = 2e-4


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Shares are of 1; `looks` are numbers of pairs. harness.policy reads it from a file."""

    looks: tuple[int, ...] = (4, 6, 8, 12, 16)
    slower_alpha: float = 0.001  # one-sided, of the bound that shows a slowdown
    pass_alpha: float = 0.01  # one-sided, of the bound that rules one out
    floor: float = 0.02  # least mean slowdown that is called one
    absolute_us: float = 3.0  # and least mean difference: device timers tick in about half a microsecond
    pass_below: float = 0.03  # a slowdown this large must be ruled out for "same"
    confirm_pairs: int = 8  # fresh ones
    confirm_alpha: float = 0.01
    confirm_floor: float = 0.01  # below `floor`: else a slowdown just above it would be confirmed half of the times
    recheck_above: float = 0.15  # a row faster by more than this is checked for parity again
    canary: float = 0.007  # of a canary's shift from none: harness.canary_rule
    canary_alpha: float = 0.01  # two-sided, of the ranks that show a shift
    one_sided: int = 6  # so many verdicts on one side, and none on the other, without a changed engine


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the pairs show. `mean`, `low` and `high` are logarithms of head time over base time: positive is slower.

    `low` is the lower bound that a slowdown is called by (99.9 %), `high` the upper bound that "same" is called by
    (99 %), both one-sided. `smallest_visible` (0.03 is 3 %) is the smallest true slowdown that these looks would call
    slower with a power of 90 %, were the noise of every pair normal with the standard deviation seen here. It is
    computed from 2000 seeded simulations of the whole rule, and infinite below two pairs.
    """

    verdict: Outcome
    mean: float
    low: float
    high: float
    pairs: int  # that the verdict rests on: up to the look that settled it
    smallest_visible: float
    faster: bool = False  # "same", and the rule for "slower" holds in the mirror
    recheck: bool = False  # so much faster that work may be missing: compare the bits again


def log_ratios(base_us: Sequence[float], head_us: Sequence[float]) -> tuple[Floats, Floats]:
    """log(head / base) and head - base of paired times in us. Raises BadCall for a time that is none."""
    if len(base_us) != len(head_us):
        raise BadCall(f"{len(base_us)} times of base and {len(head_us)} of head: expected pairs")
    for side, times in (("base", base_us), ("head", head_us)):
        for place, time in enumerate(times, start=1):
            if not 0 < time < math.inf:
                raise BadCall(f"pair {place}: {side} took {time:g} us, expected a positive time")
    base, head = np.asarray(base_us, dtype=np.float64), np.asarray(head_us, dtype=np.float64)
    return np.log(head / base), head - base


def judge(log_ratios: Sequence[float] | Floats, differences_us: Sequence[float] | Floats, policy: Policy) -> Judgement:
    """The verdict of one row on its pairs so far, in the order measured. The first look that settles it counts.

    Raises BadCall without a pair and for numbers that are none.
    """
    logs, differences = _pairs(log_ratios, differences_us)
    (code,), (pairs,) = decide(logs[None], differences[None], policy)
    logs, differences = logs[:pairs], differences[:pairs]
    many = pairs > 1
    mean, sd = float(logs.mean()), float(logs.std(ddof=1)) if many else math.inf
    return Judgement(
        verdict=OUTCOMES[code],
        mean=mean,
        low=-float(_upper(-logs[None], policy.slower_alpha)[0]) if many else -math.inf,
        high=float(_upper(logs[None], policy.pass_alpha)[0]) if many else math.inf,
        pairs=int(pairs),
        smallest_visible=smallest_visible(sd, _base_us(logs, differences), policy),
        faster=bool(code == SAME and _beyond(-logs[None], -differences[None], policy)[0]),
        recheck=not mean >= math.log1p(-policy.recheck_above),
    )


def decide(logs: Floats, differences: Floats, policy: Policy) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rule for many rows at once: places in OUTCOMES, and the pairs that each rests on.

    `logs` and `differences` are (rows, pairs). "same" waits while a row looks faster and is not yet shown to be.
    """
    rows, given = logs.shape
    codes = np.full(rows, MORE if given < policy.looks[-1] else CANNOT_TELL)
    pairs = np.full(rows, min(given, policy.looks[-1]))
    for k in policy.looks:
        if k > given:
            break
        seen, changes = logs[:, :k], differences[:, :k]
        slower, same = _beyond(seen, changes, policy), _upper(seen, policy.pass_alpha) < math.log1p(policy.pass_below)
        if k != policy.looks[-1]:
            same &= _beyond(-seen, -changes, policy) | ~_large(-seen, -changes, policy)
        new = ((codes == MORE) | (codes == CANNOT_TELL)) & (slower | same)
        codes[new], pairs[new] = np.where(slower[new], SLOWER, SAME), k
    return codes, pairs


def confirms(
    log_ratios: Sequence[float] | Floats,
    differences_us: Sequence[float] | Floats,
    policy: Policy,
    *,
    direction: Direction = "slower",
) -> bool:
    """Whether fresh pairs of the same row agree with a verdict in its direction. Fewer than asked for do not.

    The bar is lower than the first one: a second, independent 1 % on top of 0.1 %, and half of the floor.
    """
    logs, _ = _pairs(log_ratios, differences_us)
    sign = 1.0 if direction == "slower" else -1.0
    return len(logs) >= policy.confirm_pairs and bool(confirmed(sign * logs[None], policy)[0])


def confirmed(logs: Floats, policy: Policy) -> NDArray[np.bool_]:
    """`confirms` for many rows at once: (rows, pairs), of which the first `confirm_pairs` count."""
    fresh = logs[:, : policy.confirm_pairs]
    result: NDArray[np.bool_] = (-_upper(-fresh, policy.confirm_alpha) > 0) & (
        fresh.mean(axis=1) >= math.log1p(policy.confirm_floor)
    )
    return result


def smallest_visible(sd: float, base_us: float, policy: Policy) -> float:
    """Judgement.smallest_visible of pairs whose log ratios have the standard deviation `sd`."""
    if not (sd < math.inf and base_us > 0):
        return math.inf
    absolute = policy.absolute_us / base_us
    least = policy.floor if absolute <= policy.floor else _rounded_up(absolute)
    return math.expm1(_visible(_rounded_up(sd), least, policy))


def one_sided(directions: Iterable[Direction], policy: Policy, *, engine_changed: bool) -> bool:
    """Whether verdicts that no changed file explains all point one way: the arms differ in something else."""
    sides = list(directions)
    return not engine_changed and len(sides) >= policy.one_sided and len(set(sides)) == 1


def _pairs(logs: Sequence[float] | Floats, differences: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    left, right = np.asarray(logs, dtype=np.float64), np.asarray(differences, dtype=np.float64)
    if left.ndim != 1 or left.shape != right.shape or not left.size:
        raise BadCall(f"{left.size} log ratios and {right.size} differences: expected one of each for every pair")
    for name, values in (("log ratio", left), ("difference", right)):
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise BadCall(f"pair {bad[0] + 1}: the {name} is {values[bad[0]]:g}, expected a finite number")
    return left, right


def _upper(logs: Floats, alpha: float) -> Floats:
    """One-sided upper bound of the mean of each row."""
    k = logs.shape[1]
    bound: Floats = logs.mean(axis=1) + _quantile(alpha, k - 1) * logs.std(axis=1, ddof=1) / math.sqrt(k)
    return bound


@lru_cache(maxsize=256)
def _quantile(alpha: float, freedom: int) -> float:
    """Of the t distribution; kept, because scipy takes longer for it than a row takes for all else."""
    return float(stats.t.isf(alpha, freedom))


def _large(logs: Floats, differences: Floats, policy: Policy) -> NDArray[np.bool_]:
    large: NDArray[np.bool_] = (logs.mean(axis=1) >= math.log1p(policy.floor)) & (
        differences.mean(axis=1) >= policy.absolute_us
    )
    return large


def _beyond(logs: Floats, differences: Floats, policy: Policy) -> NDArray[np.bool_]:
    """Slower, shown and large enough; with both negated, faster."""
    shown: NDArray[np.bool_] = -_upper(-logs, policy.slower_alpha) > 0
    return shown & _large(logs, differences, policy)


def _base_us(logs: Floats, differences: Floats) -> float:
    """What base took, from head - base = base (head / base - 1); infinite where nothing differs."""
    relative = float(np.abs(np.expm1(logs)).sum())
    return float(np.abs(differences).sum()) / relative if relative > 0 else math.inf


def _rounded_up(value: float) -> float:
    """To a step of 5 %, so that rows of like noise share one computation."""
    return math.exp(0.05 * math.ceil(math.log(value) / 0.05)) if value > 0 else 0.0


@lru_cache(maxsize=1024)
def _visible(sd: float, least: float, policy: Policy) -> float:
    """The log ratio that is called slower with VISIBLE_POWER, at noise `sd` and where `least` is large enough."""
    noise = sd * np.random.default_rng(0).standard_normal((VISIBLE_TRIALS, policy.looks[-1]))

    def seen(change: float) -> bool:
        logs = change + noise
        # At a base time at which a slowdown of `least` is just large enough in us as well.
        codes, _ = decide(logs, np.expm1(logs) / least * policy.absolute_us, policy)
        return bool(np.mean(codes == SLOWER) >= VISIBLE_POWER)

    low = high = math.log1p(least)
    while not seen(high):
        low, high = high, 2 * high
    while high - low > VISIBLE_STEP:
        middle = (low + high) / 2
        low, high = (low, middle) if seen(middle) else (middle, high)
    return high
