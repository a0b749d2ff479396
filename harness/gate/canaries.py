"""Canaries: work that no change touches. If it moves between the arms, the machine moved."""

from __future__ import annotations

import math

import numpy as np

from harness.canary_rule import Floats, canary_moved, canary_shift, in_another_state
from harness.gate.arms import SIDES
from harness.gate.evidence import Evidence
from harness.gate.schema import CanaryVerdict
from harness.sampling import is_median
from harness.schema import Canary
from harness.statistics import Policy
from harness.words import plural

EXPECTED = ("copy", "matvec", "empty_graph")


def judge_canaries(evidence: Evidence, policy: Policy) -> tuple[CanaryVerdict, ...]:
    """All that are expected; one that an arm did not measure counts as moved."""
    names = dict.fromkeys((*EXPECTED, *(name for side in SIDES for name in evidence.canaries[side])))
    return tuple(_judge(name, evidence, policy) for name in names)


def _judge(name: str, evidence: Evidence, policy: Policy) -> CanaryVerdict:
    base, head = (evidence.canaries[side].get(name, []) for side in SIDES)
    if not base or len(base) != len(head):
        counts = f"base measured it {len(base)} times, head {len(head)}"
        return CanaryVerdict(name=name, ratio=None, moved=True, reason=counts)
    if not all(0 < _median(canary) < math.inf for canary in (*base, *head)):
        return CanaryVerdict(name=name, ratio=None, moved=True, reason="a time that is none")
    if not all(is_median(_median(canary), canary.samples.values) for canary in (*base, *head)):
        return CanaryVerdict(name=name, ratio=None, moved=True, reason="a median that is not that of its samples")
    arms = [np.log([_median(canary) for canary in arm]) for arm in (base, head)]
    moved = bool(canary_moved(arms[0][None], arms[1][None], policy)[0])
    shift, low, high = canary_shift(*arms)
    why = [f"moved by more than {policy.canary:.1%}"] if moved else []
    return CanaryVerdict(
        name=name,
        ratio=math.exp(shift),
        low=math.exp(low),
        high=math.exp(high),
        pairs=len(base),
        moved=moved,
        reason="; ".join([*why, *_aside(*arms)]),
    )


def _aside(base: Floats, head: Floats) -> tuple[str, ...]:
    """What is said of processes that are in another state than the fastest."""
    count, every = in_another_state(base, head), len(base) + len(head)
    return (f"{count} of {plural(every, 'process', 'processes')} in another, slower state",) if count else ()


def _median(canary: Canary) -> float:
    return canary.samples.median
