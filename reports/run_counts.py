"""What two runs of one row counted: launches, kernels of graph replays, and the paths that engaged."""

from __future__ import annotations

from harness.gate.schema import Verdict
from harness.schema import Row
from reports.text import one_line
from reports.units import count

COUNTS = {
    "launches_per_token": "launches per token",
    "graph_kernels_per_token": "graph kernels per token",
    "prefill_launches_per_token": "prefill launches per token",
}


def counts_moved(before: Row, now: Row) -> tuple[Verdict, str]:
    """ "slower" for more of a count or a path that engages no longer, "faster" for fewer, and what moved in words."""
    worse: list[str] = []
    better: list[str] = []
    for name, words in COUNTS.items():
        old, new = float(getattr(before.metrics, name)), float(getattr(now.metrics, name))
        if old == new:
            continue
        (better if new < old else worse).append(f"{words}: {count(old)} to {count(new)}")
    for name in sorted(before.engaged.keys() | now.engaged.keys()):
        was, is_ = _engaged(before, name), _engaged(now, name)
        if was != is_:
            (worse if was else better).append(f"{one_line(name)} {'no longer engages' if was else 'engages now'}")
    if worse:
        return "slower", "; ".join((*worse, *better))
    return ("faster", "; ".join(better)) if better else ("same", "")


def _engaged(row: Row, name: str) -> bool:
    path = row.engaged.get(name)
    return path is not None and path.engaged is True
