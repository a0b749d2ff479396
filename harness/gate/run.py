"""A gate from its plan to its result: pairs, parity again where head is much faster, confirmation, verdicts."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import msgspec

from harness.gate.accept import Accepted
from harness.gate.arms import SIDES, Build, Side
from harness.gate.canaries import judge_canaries
from harness.gate.evidence import Evidence
from harness.gate.gpus import gpu_lock
from harness.gate.pairs import NOT_KNOWN, ModelRows, check_again, measure_once, run_pairs
from harness.gate.parity import parity_block
from harness.gate.plan import GatePlan
from harness.gate.processes import Bench
from harness.gate.schema import CONFIRMED_HERE, Arm, CanaryVerdict, GateResult, RowVerdict
from harness.gate.stored import StoredArm, add_stored, why_no_times
from harness.gate.times import TIME_METRICS, UNGATEABLE, NoiseClasses, Timed, judge_times
from harness.gate.verdicts import Confirmation, Judge, exit_code, headline
from harness.schema import FOREIGN, Gpu, PlannedRow
from harness.statistics import Direction, Policy, one_sided
from harness.where import telling
from harness.words import plural

HOST_NOTE = "times: not measured on an emulated device; parity, engaged paths and counts are gated"
FOREIGN_NOTE = "times: an engine that is not ours reports its own, in separate runs; parity alone is gated"
STORED_NOTE = "stored times of separate runs: shown where they are of one GPU, and never a verdict"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a gate judges by."""

    policy: Policy
    accepted: Accepted
    noise: NoiseClasses = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Each side is a build to measure or a stored run."""

    builds: Mapping[Side, Build]
    stored: Mapping[Side, StoredArm]

    @property
    def engine_changed(self) -> bool:
        """False: no verdict on times can come from the engine."""
        return len({build.arm.engine for build in self.builds.values()}) > 1


@dataclass(kw_only=True)
class Found:
    """What was measured."""

    evidence: Evidence
    pairs: int = 0
    canaries: tuple[CanaryVerdict, ...] = ()
    confirmation: Confirmation | None = None
    notes: tuple[str, ...] = ()


def run_gate(plan: GatePlan, bench: Bench, arms: Arms, settings: Settings) -> GateResult:
    """Measure what is not measured yet and judge it all. KeyboardInterrupt leaves what is finished in its folder."""
    start = time.monotonic()
    found = _from_stored(plan, bench, arms) if arms.stored else _measured(plan, bench, settings)
    judge = Judge(
        policy=settings.policy,
        accepted=settings.accepted,
        rerun=lambda row: rerun(plan, row),
        moved=tuple(canary.name for canary in found.canaries if canary.moved),
        confirmation=found.confirmation,
        noise=settings.noise,
        stored="the arms were not measured in turn" if arms.stored else "",
    )
    rows = _unexplained(judge.verdicts(found.evidence), arms, settings.policy)
    code = exit_code(rows, found.canaries)
    return GateResult(
        base=_arm("base", arms, bench),
        head=_arm("head", arms, bench),
        device=plan.device,
        gpu=_gpu(arms, bench),
        policy=asdict(settings.policy),
        rows=rows,
        canaries=found.canaries,
        selftest=plan.selftest,
        parity=parity_block(list(found.evidence.rows.values()), lambda row: rerun(plan, row)),
        environment=plan.environment,
        notes=(*plan.notes, *bench.ran_again, *_alike(arms), *found.notes, *settings.accepted.notes(judge.used)),
        started=plan.started,
        seconds=time.monotonic() - start,
        pairs_spent=found.pairs,
        command=plan.command,
        exit_code=code,
        headline=headline(code, rows),
    )


def rerun(plan: GatePlan, row: PlannedRow) -> str:
    """One command that judges this row alone."""
    where = telling(row, plan.rows(), plan.where) or plan.where
    return f"{plan.rerun} --where {shlex.quote(where)}" if where else plan.rerun


def _measured(plan: GatePlan, bench: Bench, settings: Settings) -> Found:
    policy, models = settings.policy, plan.model_rows()
    timed = plan.device == "cuda"
    with gpu_lock(plan.gpu, bench.cache):
        looks = policy.looks if timed else (1,)
        evidence, pairs = run_pairs(
            bench, models, policy, stage="pairs", gpu=plan.gpu, looks=looks, noise=settings.noise
        )
        check_again(bench, models, evidence, _keys(evidence, policy, _suspiciously_fast), gpu=plan.gpu)
    found = Found(evidence=evidence, pairs=pairs, notes=() if timed else (HOST_NOTE,))
    if not timed:
        return found
    found.canaries = judge_canaries(evidence, policy)
    slow = _keys(evidence, policy, lambda timed: timed.verdict == "slower", noise=settings.noise)
    if slow and not any(canary.moved for canary in found.canaries):
        found.confirmation, more = _confirm(plan, bench, settings, slow)
        found.pairs += more
        for key, row in found.confirmation.evidence.rows.items():
            evidence.rows[key].confirmed.extend(row.head)
            evidence.rows[key].faults.extend(row.faults)
    discarded = _discarded(evidence)
    found.notes += (
        (f"{plural(discarded, 'sample was', 'samples were')} discarded while the GPU was throttled",)
        if discarded
        else ()
    )
    return found


def _confirm(plan: GatePlan, bench: Bench, settings: Settings, slow: frozenset[str]) -> tuple[Confirmation, int]:
    """Fresh pairs of the slower rows, on another GPU if there is one."""
    gpu = plan.others[0] if plan.others else plan.gpu
    models = [
        ModelRows(number=model.number, path=model.path, rows=tuple(row for row in model.rows if row.key in slow))
        for model in plan.model_rows()
    ]
    models = [model for model in models if model.rows]
    with gpu_lock(gpu, bench.cache):
        evidence, pairs = run_pairs(
            bench, models, settings.policy, stage="confirm", gpu=gpu, looks=(settings.policy.confirm_pairs,)
        )
    still = not any(canary.moved for canary in judge_canaries(evidence, settings.policy))
    words = f"confirmed on {gpu}" if plan.others else CONFIRMED_HERE
    return Confirmation(evidence=evidence, words=words, still=still), pairs


def _from_stored(plan: GatePlan, bench: Bench, arms: Arms) -> Found:
    """Parity and counts of the runs, beside one process for each model of an arm that is no run."""
    evidence = Evidence.owed(plan.rows())
    for side in arms.builds:
        with gpu_lock(plan.gpu, bench.cache):
            measure_once(bench, plan.model_rows(), evidence, side, gpu=plan.gpu)
    gpus: dict[str, Gpu | None] = {side: stored.gpu for side, stored in arms.stored.items()}
    gpus |= {side: answer.gpu for side, answer in bench.heard.items()}
    why = why_no_times(gpus) or (FOREIGN_NOTE if plan.device == FOREIGN else "")
    for side, stored in arms.stored.items():
        add_stored(evidence, side, stored)
    if why:
        evidence.forget_times()
    times = why or (STORED_NOTE if plan.device == "cuda" else HOST_NOTE)
    problems = (f"{side}: {problem}" for side, stored in arms.stored.items() for problem in stored.run.problems)
    return Found(evidence=evidence, notes=(times, *problems))


def _keys(
    evidence: Evidence, policy: Policy, wanted: Callable[[Timed], bool], *, noise: NoiseClasses = NOT_KNOWN
) -> frozenset[str]:
    """Rows of which a time is as wanted, and not known to be ungateable."""
    keys = set()
    for key, row in evidence.rows.items():
        worth = [metric for metric in TIME_METRICS if noise.get((key, metric)) != UNGATEABLE and not row.faults]
        timed = [judge_times(row, metric, policy) for metric in worth]
        if any(one is not None and wanted(one) for one in timed):
            keys.add(key)
    return frozenset(keys)


def _alike(arms: Arms) -> tuple[str, ...]:
    trees = {build.arm.tree for build in arms.builds.values()}
    alike = len(arms.builds) == len(SIDES) and len(trees) == 1
    return ("both arms are the same source tree: whatever HEAD was meant to change is not in it",) if alike else ()


def _suspiciously_fast(timed: Timed) -> bool:
    return timed.judgement is not None and timed.judgement.recheck


def _unexplained(rows: tuple[RowVerdict, ...], arms: Arms, policy: Policy) -> tuple[RowVerdict, ...]:
    """Many rows that all move one way where the engine is the same: the arms differ in something else."""
    times = [row for row in rows if row.metric in TIME_METRICS and row.verdict in ("slower", "faster")]
    directions: list[Direction] = ["slower" if row.verdict == "slower" else "faster" for row in times]
    if not one_sided(directions, policy, engine_changed=arms.engine_changed):
        return rows
    reason = f"{len(times)} rows are all {directions[0]}, and the engine is the same in both arms"
    keys = {(row.key, row.metric) for row in times}
    return tuple(
        msgspec.structs.replace(row, verdict="cannot_tell", reason=reason) if (row.key, row.metric) in keys else row
        for row in rows
    )


def _discarded(evidence: Evidence) -> int:
    samples = (
        getattr(measured, metric)
        for row in evidence.rows.values()
        for side in SIDES
        for measured in row.of(side)
        for metric in TIME_METRICS
    )
    return sum(one.discarded for one in samples if one is not None)


def _arm(side: Side, arms: Arms, bench: Bench) -> Arm:
    if side in arms.stored:
        return arms.stored[side].arm
    arm, heard = arms.builds[side].arm, bench.heard.get(side)
    if heard is None:
        return arm
    return msgspec.structs.replace(arm, version=heard.version, numerics=heard.numerics, dirty=heard.git_dirty)


def _gpu(arms: Arms, bench: Bench) -> Gpu | None:
    found = [answer.gpu for answer in bench.heard.values()] + [stored.gpu for stored in arms.stored.values()]
    return next((gpu for gpu in found if gpu is not None), None)
