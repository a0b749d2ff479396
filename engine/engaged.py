"""Which paths a session really took, read off its launch counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from engine.device import Counters
from engine.launch_log import LaunchLog, LoggedGraph
from engine.toggles import Toggles

FUSED = (
    "matmul_group", "matmul_residual", "matmul_swiglu", "swiglu_quantize", "attention_step", "heads_append",
)  # fmt: skip


def steps_taken(log: LaunchLog) -> int:
    """Steps that ran: the embedding is launched exactly once in each, whatever the number of rows."""
    return sum(count for name, count in log.executed().items() if name.startswith("embedding"))


@dataclass(frozen=True, kw_only=True)
class Engagement:
    """One path: what was asked for, what happened, and why if the two differ."""

    asked: str
    engaged: bool | None  # None: not applicable here, or nothing has run yet
    reason: str  # empty when it engaged as asked
    detail: str  # the counts behind the verdict

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


Engagements = Mapping[str, Engagement]


@dataclass
class Tally:
    """What the session asked of the device, to hold against what the device counted."""

    one_row_steps: int = 0
    one_row_graph_launches: int = 0
    few_row_passes: int = 0  # that compute the logits of all their rows
    few_row_graph_launches: int = 0
    batched_rows: int = 0
    batched_passes: int = 0
    batched_steps: int = 0  # counted by the kernel that runs once a step

    def one_row(self, before: Counters, after: Counters) -> None:
        self.one_row_steps += 1
        self.one_row_graph_launches += after.graph_launches - before.graph_launches

    def few_rows(self, before: Counters, after: Counters) -> None:
        self.few_row_passes += 1
        self.few_row_graph_launches += after.graph_launches - before.graph_launches

    def batched(self, rows: int, steps: int) -> None:
        self.batched_rows += rows
        self.batched_passes += 1
        self.batched_steps += steps

    def engagements(
        self, toggles: Toggles, log: LaunchLog, graph: LoggedGraph | None, *, refused: str, has_pdl: bool
    ) -> Engagements:
        return {
            "graph": self._graph(toggles, graph, refused),
            "pdl": _pdl(toggles, graph, has_pdl, log),
            "prefill": self._prefill(toggles),
            "matmul": _matmul(toggles, log),
            "fused": self._fused(toggles, log),
            "portable": _portable(toggles, log),
            **({"tape": _tape(log)} if toggles.tape == "on" else {}),
        }

    def _graph(self, toggles: Toggles, graph: LoggedGraph | None, refused: str) -> Engagement:
        replayed = self.one_row_graph_launches + self.few_row_graph_launches
        steps = self.one_row_steps + self.few_row_passes
        kernels = graph.kernels if graph else 0
        engaged = None if steps == 0 else replayed == steps
        reason = (
            ""
            if engaged
            else refused or ("no one-row step yet" if steps == 0 else f"{steps - replayed} steps ran directly")
        )
        detail = f"{self.one_row_graph_launches} of {self.one_row_steps} one-row steps replayed"
        if self.few_row_passes:
            detail += f" and {self.few_row_graph_launches} of {self.few_row_passes} passes of a few rows"
        return Engagement(
            asked=toggles.graph, engaged=engaged, reason=reason, detail=f"{detail}, {kernels} kernels in the graph"
        )

    def _prefill(self, toggles: Toggles) -> Engagement:
        rows, steps = self.batched_rows, self.batched_steps
        if toggles.prefill == "sequential":
            engaged: bool | None = rows == 0
            return Engagement(asked="sequential", engaged=engaged, reason="", detail=f"{rows} rows in batches")
        if rows == self.batched_passes:
            reason = "no pass held more than one row" if rows else "no prefill yet"
            return Engagement(asked="batched", engaged=None, reason=reason, detail=f"{rows} rows in {steps} steps")
        engaged = steps == self.batched_passes
        reason = "" if engaged else f"{self.batched_passes} passes took {steps} steps"
        return Engagement(asked="batched", engaged=engaged, reason=reason, detail=f"{rows} rows in {steps} steps")

    def _fused(self, toggles: Toggles, log: LaunchLog) -> Engagement:
        """Each one-row step has at least one kernel that stands for several: attention_step takes most heads."""
        count = sum(n for name, n in log.executed().items() if name.startswith(FUSED))
        detail = f"{count} launches of fused kernels"
        if toggles.fused == "off":
            return Engagement(asked="off", engaged=count == 0, reason="", detail=detail)
        if toggles.matmul == "gemm":
            return Engagement(asked="on", engaged=None, reason="not applicable with matmul gemm", detail=detail)
        engaged = None if self.one_row_steps == 0 else count >= self.one_row_steps
        reason = "" if engaged else "no one-row step yet" if engaged is None else "a tap looks at single operations"
        return Engagement(asked="on", engaged=engaged, reason=reason, detail=detail)


def _pdl(toggles: Toggles, graph: LoggedGraph | None, has_pdl: bool, log: LaunchLog) -> Engagement:
    if toggles.pdl == "off":
        edges = (graph.programmatic_edges or 0) if graph else 0
        return Engagement(asked="off", engaged=edges == 0, reason="", detail=f"{edges} programmatic edges")
    if not has_pdl:
        return Engagement(asked="on", engaged=None, reason="not applicable on this device", detail="")
    if graph is None:
        return Engagement(
            asked="on", engaged=None, reason="no graph to count edges in", detail=f"{log.counters.launches} launches"
        )
    edges = graph.programmatic_edges or 0
    reason = "" if edges else "the graph has no programmatic edge"
    return Engagement(
        asked="on", engaged=edges > 0, reason=reason, detail=f"{edges} edges over {graph.kernels} kernels"
    )


def _portable(toggles: Toggles, log: LaunchLog) -> Engagement:
    if log.portable is None:
        return Engagement(asked=toggles.portable, engaged=None, reason="not applicable on this device", detail="")
    engaged = log.portable or toggles.portable == "off"
    return Engagement(
        asked=toggles.portable,
        engaged=engaged,
        reason="" if engaged else "the stream runs the other kernels",
        detail="",
    )


def _tape(log: LaunchLog) -> Engagement:
    executed = log.executed()
    noted = sum(count for name, count in executed.items() if name.startswith("tape_"))
    engaged = None if not executed.total() else noted > 0
    reason = "" if engaged else "nothing has run yet" if engaged is None else "no launch left a value with a name"
    return Engagement(asked="on", engaged=engaged, reason=reason, detail=f"{noted} of {executed.total()} launches")


def _matmul(toggles: Toggles, log: LaunchLog) -> Engagement:
    executed = log.executed()
    names = "matvec", "few", "gemm"
    paths = {path: sum(n for name, n in executed.items() if name.endswith(f"_{path}")) for path in names}
    others = [path for path in names if toggles.matmul not in ("auto", path) and paths[path]]
    engaged = None if not any(paths.values()) else not others
    reason = ", ".join(f"{paths[path]} launches of {path}" for path in others)
    return Engagement(
        asked=toggles.matmul,
        engaged=engaged,
        reason="nothing has run yet" if engaged is None else reason,
        detail=", ".join(f"{paths[path]} {path}" for path in names),
    )
