"""What no measurement can pass: a figure above what the machine was measured to do is a mistake, not a win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.kernels import READ, SCALES
from harness.schema import Ceiling
from harness.work_model import Work


@dataclass(frozen=True, kw_only=True)
class Claim:
    """That so much work was done in so long."""

    name: str  # "decode", "prefill"
    work: Work
    us: float


def impossible(claims: Sequence[Claim], ceilings: Sequence[Ceiling], share: float) -> str:
    """One line if a claim is above `share` of a ceiling, else empty.

    Bytes are held against the fastest reads that were measured, operations against the highest rate of any kind of
    arithmetic, which no path of the engine can pass.
    """
    reads = [ceiling for ceiling in ceilings if ceiling.name == READ]
    rates = [ceiling for ceiling in ceilings if ceiling.unit == "TOP/s"]
    for claim in claims:
        for amount, known in ((claim.work.bytes, reads), (claim.work.operations, rates)):
            best = max(known, key=lambda ceiling: ceiling.median, default=None)
            if best is None:
                continue
            reached = amount / (claim.us * 1e-6) / (best.median * SCALES[best.unit])
            if not reached <= share:
                limit = f"{best.median:,.0f} {best.unit}"
                return f"{claim.name} at {100 * reached:.0f} % of the measured ceiling {best.name} ({limit})"
    return ""
