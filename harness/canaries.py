"""The canaries of a process: measured before and behind its rows, so that what the machine did meanwhile shows."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, cast

import msgspec

from harness.kernels import READ
from harness.rules import Rules
from harness.sampling import Take, median_error, sampled
from harness.schema import Canary, Ceiling, Samples

Name: TypeAlias = Literal["copy", "matvec", "empty_graph"]
Works = Mapping[str, tuple[Callable[[], Take], int]]  # a take of each, and the bytes it moves


def canary_samples(works: Works, rules: Rules) -> dict[str, Samples]:
    """Of each work; one whose every sample had to be thrown away has none."""
    warm_seconds = rules.warm_seconds[0] / 4
    found = {
        name: sampled(take, rules, samples=(rules.samples[0], rules.samples[0]), warm_seconds=warm_seconds).samples()
        for name, (take, _) in works.items()
    }
    return {name: samples for name, samples in found.items() if samples is not None}


def merged(before: Mapping[str, Samples], after: Mapping[str, Samples]) -> tuple[Canary, ...]:
    """The samples of both times as one; a canary that was not measured at either is left out."""
    return tuple(
        Canary(name=cast(Name, name), samples=_together(before[name], after[name])) for name in before if name in after
    )


def read_ceiling(works: Works, samples: Mapping[str, Samples]) -> tuple[Ceiling, ...]:
    """What the matvec canary says of the memory."""
    if "matvec" not in samples:
        return ()
    rates = [works["matvec"][1] / us / 1e3 for us in samples["matvec"].values]
    rate = statistics.median(rates)
    return (Ceiling(name=READ, unit="GB/s", median=rate, min=min(rates), max=max(rates), samples=len(rates)),)


def _together(before: Samples, after: Samples) -> Samples:
    values = before.values + after.values
    reasons = {
        name: before.reasons.get(name, 0) + after.reasons.get(name, 0) for name in {**before.reasons, **after.reasons}
    }
    return msgspec.structs.replace(
        before,
        values=values,
        median=statistics.median(values),
        stderr=median_error(values),
        sm_mhz=before.sm_mhz + after.sm_mhz if before.sm_mhz and after.sm_mhz else (),
        discarded=before.discarded + after.discarded,
        reasons=reasons,
        temperature_c=(before.temperature_c[0], after.temperature_c[1])
        if before.temperature_c and after.temperature_c
        else None,
    )
