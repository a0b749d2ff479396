"""The canaries of a process: small work that no model has a part in. If it moves between processes, the machine did.

They run before the rows, and in the order given: what a graph node costs in a process depends on which kernels ran in
it before (0.57 us against 0.75 us on an H200), and the rows are shuffled.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import cast

import msgspec

from harness.kernels import READ
from harness.rules import Rules
from harness.sampling import Take, sampled
from harness.schema import Canary, CanaryName, Ceiling

WINDOWS_OF_ROWS = 1 / 4  # the windows of a warm-up are so much shorter here: a take is a millisecond

Works = Mapping[str, tuple[Callable[[], Take], int]]  # a take of each, and the bytes it moves


def canaries(works: Works, rules: Rules) -> tuple[Canary, ...]:
    """Samples of each work; one whose every sample had to be thrown away is left out."""
    least, most = rules.warm_seconds
    short = msgspec.structs.replace(rules, warm_seconds=(least * WINDOWS_OF_ROWS, most))
    found: list[Canary] = []
    for name, (take, _) in works.items():
        warm_seconds = 0.0 if found else least / 2  # the first one finds a GPU that was idle
        samples = sampled(take, short, samples=rules.samples, warm_seconds=warm_seconds).samples()
        if samples is not None:
            found.append(Canary(name=cast(CanaryName, name), samples=samples))
    return tuple(found)


def read_ceiling(works: Works, measured: tuple[Canary, ...]) -> tuple[Ceiling, ...]:
    """What the matvec canary says of the memory."""
    times = [us for canary in measured if canary.name == "matvec" for us in canary.samples.values]
    rates = [works["matvec"][1] / us / 1e3 for us in times]
    if not rates:
        return ()
    rate = statistics.median(rates)
    return (Ceiling(name=READ, unit="GB/s", median=rate, min=min(rates), max=max(rates), samples=len(rates)),)
