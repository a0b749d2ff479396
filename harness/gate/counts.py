"""What can be counted is compared exactly: launches, kernels of the graph, and which paths engaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from harness.gate.evidence import RowEvidence
from harness.gate.schema import Verdict
from harness.schema import FOREIGN, Measurement


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Head against base. `more` is launches or kernels per token that head has more; `lost` are paths it lost."""

    verdict: Verdict
    reason: str = ""
    more: float = 0.0
    lost: tuple[str, ...] = ()


def judge_counts(row: RowEvidence) -> Counts | None:
    """None where there is nothing to compare, or to count. A row of ours that launches nothing measured nothing."""
    if not row.base or not row.head or row.row.device == FOREIGN:
        return None
    base, head = row.base[0], row.head[0]
    before, after = _launches(base), _launches(head)
    for side, measured in (("base", row.base), ("head", [*row.head, *row.again])):
        if len({_facts(one) for one in measured}) > 1:
            return Counts(verdict="broken", reason=f"counts of {side} differ from process to process")
    if before is None or after is None or not after[0] > 0:
        return Counts(verdict="broken", reason=f"{'base' if before is None else 'head'} counted no launch")
    changes = [
        (f"{name} per token {old:g} -> {new:g}", new - old)
        for name, old, new in zip(("launches", "graph kernels"), before, after, strict=True)
        if old != new
    ]
    lost = _lost(base, head)
    words = [text for text, _ in changes]
    more = max((change for _, change in changes), default=0.0)
    if lost or more > 0:
        paths = [f"{name} engaged in base and not in head{_why(head, name)}" for name in lost]
        return Counts(verdict="slower", reason="; ".join((*paths, *words)), more=max(more, 0.0), lost=tuple(lost))
    return Counts(verdict="faster" if changes else "same", reason="; ".join(words))


def _launches(measured: Measurement) -> tuple[float, float] | None:
    """Launches and graph kernels per token; None where one is not known, or is no count."""
    launches, kernels = measured.launches_per_token, measured.graph_kernels_per_token
    if launches is None or kernels is None or not (0 <= launches < math.inf and 0 <= kernels < math.inf):
        return None
    return launches, kernels


def _lost(base: Measurement, head: Measurement) -> Sequence[str]:
    """Paths that were taken in base and are not in head: a fallback, a gate, or a path that is gone."""
    taken = [name for name, path in base.engaged.items() if path.engaged is True]
    return [name for name in taken if name not in head.engaged or head.engaged[name].engaged is not True]


def _why(head: Measurement, name: str) -> str:
    path = head.engaged.get(name)
    if path is None:
        return " (head does not know it)"
    return f" ({path.reason})" if path.reason else ""


def _facts(measured: Measurement) -> tuple[object, ...]:
    engaged = tuple(sorted((name, path.engaged) for name, path in measured.engaged.items()))
    return measured.launches_per_token, measured.graph_kernels_per_token, engaged
