"""A finished run folder as an arm: its rows as measurements, of which only parity and counts can be gated."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.gate.arms import Side
from harness.gate.evidence import Evidence, Fault
from harness.gate.schema import Arm
from harness.merge import worst_by_key
from harness.sampling import is_median
from harness.schema import Gpu, Measurement, PlannedRow, Row, Samples, Spread
from harness.store import StoredRun, read_run
from harness.words import plural


@dataclass(frozen=True, kw_only=True)
class StoredArm:
    arm: Arm
    run: StoredRun

    @property
    def gpu(self) -> Gpu | None:
        return self.run.environment.gpu


def read_arm(spec: str, folder: Path) -> StoredArm:
    """Raises BadCall if it is no run folder."""
    run = read_run(folder)
    made = run.environment
    arm = Arm(
        spec=spec,
        kind="run",
        git_sha=made.git_commit,
        version=made.version,
        dirty=made.git_dirty,
        numerics=made.numerics,
        built="as stored",
    )
    return StoredArm(arm=arm, run=run)


def add_stored(evidence: Evidence, side: Side, stored: StoredArm) -> None:
    """Take in a run as one process of an arm."""
    found = worst_by_key(stored.run.rows, lambda row: row.status)
    missing = {row.key for row in stored.run.missing}
    for key, owed in evidence.rows.items():
        if key not in found or key in missing:
            reason = f"{side}: {stored.run.folder.name} has no such row"
            owed.faults.append(Fault(side=side, verdict="missing", reason=reason))
        elif found[key].status == "ok" and (wrong := _wrong_median(found[key])):
            owed.faults.append(Fault(side=side, verdict="broken", reason=f"{side}: {wrong}"))
        elif found[key].status in ("ok", "parity_failed"):
            owed.of(side).append(_measurement(found[key]))
        else:
            row = found[key]
            reason = f"{side} {row.status.replace('_', ' ')}: {row.reason}"
            owed.faults.append(Fault(side=side, verdict="broken", reason=reason))


def owed_by(arms: Mapping[Side, StoredArm]) -> dict[str, PlannedRow]:
    """By key the rows that any of these runs planned, less those that could not be in any."""
    planned = {row.key: row for stored in arms.values() for row in stored.run.plan.rows}
    cannot = [{row.key for row in stored.run.rows if row.status == "not_applicable"} for stored in arms.values()]
    nowhere = set.intersection(*cannot) if cannot else set()
    return {key: row for key, row in planned.items() if key not in nowhere}


def why_no_times(gpus: Mapping[str, Gpu | None]) -> str:
    """Why times of different origin are not even shown beside each other; empty where all are of one GPU."""
    names = {gpu.uuid if gpu is not None else "" for gpu in gpus.values()}
    if names == {""}:
        return ""
    if len(names) > 1:
        where = ", ".join(f"{side} on {gpu.uuid if gpu is not None else 'none'}" for side, gpu in gpus.items())
        return f"times are not compared, the arms were measured on different GPUs ({where})"
    return ""


def _measurement(row: Row) -> Measurement:
    metrics = row.metrics
    return Measurement(
        key=row.key,
        id=row.id,
        status=row.status,
        reason=row.reason,
        prefill=_times(metrics.prefill_tps, row.shape.prompt) if metrics else None,
        decode=_times(metrics.decode_tps, 1) if metrics else None,
        proof=row.proof,
        engaged=row.engaged,
        launches_per_token=metrics.launches_per_token if metrics else None,
        graph_kernels_per_token=metrics.graph_kernels_per_token if metrics else None,
    )


def _wrong_median(row: Row) -> str:
    """Which stored speed is not the median of its samples; empty if all are."""
    speeds = {"prefill": row.metrics.prefill_tps, "decode": row.metrics.decode_tps} if row.metrics else {}
    for name, speed in speeds.items():
        if speed is not None and not is_median(speed.median, speed.samples):
            return f"{name}: {speed.median:g} tokens/s is not the median of its {plural(len(speed.samples), 'sample')}"
    return ""


def _times(speed: Spread | None, tokens: int) -> Samples | None:
    """Microseconds for so many tokens, from tokens per second."""
    if speed is None:
        return None
    values = tuple(1e6 * tokens / value for value in speed.samples)
    return Samples(unit="us", values=values, median=statistics.median(values), stderr=0.0)
