"""Canaries: work that no change touches. If it moves between the arms, the machine moved."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.gate.arms import SIDES
from harness.gate.evidence import Evidence
from harness.gate.schema import CanaryVerdict
from harness.gate.times import ratio_of
from harness.sampling import is_median
from harness.schema import Canary
from harness.statistics import Policy, canary_moved, judge, log_ratios

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
    logs, differences = log_ratios([_median(canary) for canary in base], [_median(canary) for canary in head])
    judgement = judge(logs, differences, _at_once(len(logs), policy))
    moved = canary_moved(judgement, policy)
    return CanaryVerdict(
        name=name,
        ratio=math.exp(judgement.mean),
        low=ratio_of(judgement.low),
        high=ratio_of(judgement.high),
        pairs=len(base),
        moved=moved,
        reason=f"moved by more than {policy.canary:.1%}, or shown to differ" if moved else "",
    )


def _at_once(pairs: int, policy: Policy) -> Policy:
    """One look at all pairs: the first that settles a row would leave out what moved behind it."""
    return replace(policy, looks=(pairs,)) if pairs >= policy.looks[0] else policy


def _median(canary: Canary) -> float:
    return canary.samples.median
