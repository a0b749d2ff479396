"""A against A: fresh processes of this very program in pairs, as a gate would measure two, and what they differ by."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from harness.aa_schema import AA_SCHEMA, AaFault, AaResult, CanaryNoise, FaultKind, RowNoise
from harness.gate.canaries import EXPECTED, judge_canaries
from harness.gate.counts import judge_counts
from harness.gate.evidence import Evidence, RowEvidence
from harness.gate.gpus import gpu_lock
from harness.gate.pairs import ModelRows, order, run_pairs
from harness.gate.parity import judge_parity
from harness.gate.plan import PlannedModel
from harness.gate.processes import Bench
from harness.gate.times import TIME_METRICS, judge_times
from harness.noise import fit_noise, row_noise
from harness.progress import row_name
from harness.schema import Environment, Record
from harness.statistics import Policy
from harness.store import read_record, write_record
from harness.words import plural

PLAN_FILE, NOISE = "aa-plan.json", "noise.toml"
FEWEST = 8  # processes: four pairs, the first look of a gate
PRECEDENCE = (2, 1, 3, 0)

CODES: dict[FaultKind, int] = {"missing": 2, "broken": 2, "wrong": 1, "moved": 3, "slower": 3}


class AaPlan(Record, frozen=True, kw_only=True):
    """aa-plan.json: all that a resumed run needs to be the same run."""

    schema: int = AA_SCHEMA
    started: str  # UTC, ISO 8601
    command: str
    processes: int  # fresh ones of each model, an even number
    timed: bool  # False: parity and counts alone
    device: str
    gpu: str  # UUID; empty on the host device
    timeout: float  # seconds for one row
    models: tuple[PlannedModel, ...]
    notes: tuple[str, ...]
    environment: Environment


def run_aa(plan: AaPlan, bench: Bench, policy: Policy) -> AaResult:
    """Measure what the folder does not hold yet, and judge it. KeyboardInterrupt leaves what is finished."""
    start = time.monotonic()
    models = [ModelRows(number=i, path=model.path, rows=model.rows) for i, model in enumerate(plan.models)]
    with gpu_lock(plan.gpu, bench.cache):
        evidence, _ = run_pairs(bench, models, policy, stage="pairs", gpu=plan.gpu, looks=(plan.processes // 2,))
    faults = [fault for row in evidence.rows.values() for fault in _faults(row, plan, policy)]
    rows: list[RowNoise] = []
    canaries: list[CanaryNoise] = []
    if plan.timed:
        faults += [
            AaFault(kind="moved", label=canary.name, reason=canary.reason)
            for canary in judge_canaries(evidence, policy)
            if canary.moved
        ]
        rows, canaries = _noise(evidence, policy), _canary_noise(evidence)
    codes = {CODES[fault.kind] for fault in faults} | (set() if evidence.rows else {2})
    code = next((code for code in PRECEDENCE if code in codes), 0)
    heard = next(iter(bench.heard.values()), None)
    return AaResult(
        started=plan.started,
        command=plan.command,
        device=plan.device,
        gpu=heard.gpu if heard else None,
        tree=bench.builds["base"].arm.tree,
        version=heard.version if heard else "",
        processes=plan.processes,
        owed=len(evidence.rows),
        timed=plan.timed,
        rows=tuple(rows),
        canaries=tuple(canaries),
        faults=tuple(faults),
        notes=(*plan.notes, *bench.ran_again),
        seconds=time.monotonic() - start,
        exit_code=code,
        headline=_headline(code, len(evidence.rows), rows, faults, plan),
    )


def write_plan(folder: Path, plan: AaPlan) -> None:
    write_record(folder / PLAN_FILE, plan)


def read_plan(folder: Path) -> AaPlan:
    """Of a run's folder. Raises BadCall if it is none."""
    path = folder / PLAN_FILE
    return read_record(
        path,
        msgspec.json.Decoder(AaPlan).decode,
        absent="not the folder of an A/A run",
        unfit=f"not a plan of schema {AA_SCHEMA}",
    )


def _faults(row: RowEvidence, plan: AaPlan, policy: Policy) -> list[AaFault]:
    """Of one row; the arms are one program, so whatever differs between them is a fault."""
    label = row_name(row.row)
    if row.faults:
        return [AaFault(kind=row.faults[0].verdict, label=label, reason=row.faults[0].reason)]
    if len(row.base) != plan.processes // 2 or len(row.head) != len(row.base):
        return [AaFault(kind="missing", label=label, reason=_fewer(row, plan))]
    found: list[AaFault] = []
    for arm in (row, RowEvidence(row=row.row, base=row.head, head=row.base)):
        verdict, reason = judge_parity(arm)
        if verdict != "same" and not found:
            found.append(AaFault(kind="wrong" if verdict == "wrong" else "broken", label=label, reason=reason))
    counts = judge_counts(row)
    if counts is None or counts.verdict != "same":
        found.append(AaFault(kind="broken", label=label, reason=counts.reason if counts else "nothing was counted"))
    for metric in TIME_METRICS if plan.timed else ():
        timed = judge_times(row, metric, policy)
        if timed is None or timed.verdict == "broken":
            found.append(AaFault(kind="broken", label=label, reason=timed.reason if timed else "was not timed"))
        elif timed.unfit:
            found.append(AaFault(kind="moved", label=label, reason=f"{metric}: {timed.unfit}"))
        elif timed.verdict == "slower":
            found.append(AaFault(kind="slower", label=label, reason=f"{metric}: the same program, {timed.ratio:.4f} x"))
    return found


def _fewer(row: RowEvidence, plan: AaPlan) -> str:
    statuses = (one for one in (*row.base, *row.head) if one.status != "ok")
    why = next((f"; {one.status.replace('_', ' ')}: {one.reason}" for one in statuses), "")
    return f"{len(row.base) + len(row.head)} of {plan.processes} processes measured it{why}"


def _noise(evidence: Evidence, policy: Policy) -> list[RowNoise]:
    """Of all rows that every process timed."""
    found = []
    for key, row in evidence.rows.items():
        for metric in TIME_METRICS:
            base, head = ([getattr(one, metric) for one in arm] for arm in (row.base, row.head))
            if row.faults or None in (*base, *head):
                continue
            medians = _in_time([one.median for one in base], [one.median for one in head])
            if _can_be_fitted(medians):
                found.append(row_noise(key, row_name(row.row), metric, medians, policy))
    return found


def _canary_noise(evidence: Evidence) -> list[CanaryNoise]:
    found = []
    for name in EXPECTED:
        base, head = (
            [canary.samples.median for canary in evidence.canaries[side].get(name, [])] for side in ("base", "head")
        )
        if len(base) == len(head) and _can_be_fitted(medians := _in_time(base, head)):
            found.append(CanaryNoise(name=name, fit=fit_noise(medians)))
    return found


def _can_be_fitted(medians: Sequence[float]) -> bool:
    """Where not, the row or canary is among the faults."""
    return len(medians) >= FEWEST and all(0 < median < math.inf for median in medians)


def _in_time(base: Sequence[float], head: Sequence[float]) -> list[float]:
    """Both arms' values in the order in which their processes ran."""
    pairs = enumerate(zip(base, head, strict=False))
    return [value for pair, (b, h) in pairs for value in ((b, h) if order(pair)[0] == "base" else (h, b))]


def _headline(code: int, owed: int, rows: Sequence[RowNoise], faults: Sequence[AaFault], plan: AaPlan) -> str:
    word = {0: "PASS", 1: "PARITY FAILURE", 2: "BROKEN", 3: "CANNOT TELL"}[code]
    parts = [f"{plural(owed, 'row')} x {plan.processes} processes"]
    if plan.timed:
        alarms, splits = sum(row.false_alarms for row in rows), sum(row.splits for row in rows)
        parts.append(f"{plural(alarms, 'false alarm')} in {plural(splits, 'labelling')}")
    parts.append(plural(len(faults), "fault") if faults else "no fault")
    return f"{word}: {', '.join(parts)}"
