"""Two finished runs judged by the rules of the gate: nothing is measured, and nothing is kept."""

from __future__ import annotations

import shlex
from datetime import date
from pathlib import Path

import msgspec

from harness.errors import BadCall
from harness.gate.accept import Accepted
from harness.gate.arms import Side
from harness.gate.plan import GatePlan, plan_stored
from harness.gate.processes import Bench
from harness.gate.run import Arms, Settings, run_gate
from harness.gate.schema import GateResult
from harness.gate.stored import StoredArm, owed_by, read_arm
from harness.rules import CAREFUL
from harness.statistics import Policy


def judge_runs(base: Path, head: Path) -> GateResult:
    """What `zeroulp gate BASE HEAD` says of two run folders; the same folders give the same result.

    Parity and counts decide. Times of separate runs are not paired, so no verdict is made of them. Raises BadCall if a
    folder holds no run or they have no row in common.
    """
    stored: dict[Side, StoredArm] = {"base": read_arm(str(base), base), "head": read_arm(str(head), head)}
    planned = [{row.key for row in arm.run.plan.rows} for arm in stored.values()]
    if not set.intersection(*planned):
        raise BadCall(f"{head}: has no row of the same model, shape, toggles and device as {base}")
    if not owed_by(stored):
        raise BadCall(f"{head}: none of its rows, nor of those of {base}, applies to the machine it was made on")
    result = run_gate(
        _plan(base, head, stored),
        Bench(folder=head, builds={}, cache=head, rules=CAREFUL, timeout=0.0, environment={}, say=lambda _: None),
        Arms(builds={}, stored=stored),
        Settings(policy=Policy(), accepted=Accepted(today=date.min)),
    )
    seconds = sum(row.seconds for arm in stored.values() for row in arm.run.rows)
    return msgspec.structs.replace(result, seconds=seconds, policy={})


def _plan(base: Path, head: Path, stored: dict[Side, StoredArm]) -> GatePlan:
    models, notes, environment = plan_stored(stored, "")
    plan = stored["head"].run.plan
    return GatePlan(
        started=plan.started,
        command=shlex.join(("zeroulp", "report", "pr", str(base), str(head))),
        rerun=shlex.join(("zeroulp", "gate", str(base), str(head))),
        base=str(base),
        head=str(head),
        commits={},
        directory="",
        sharing="auto",
        matrix=plan.matrix,
        matrix_path=plan.matrix_path,
        where="",
        device=", ".join(dict.fromkeys(row.device for model in models for row in model.rows)),
        gpu="",
        others=(),
        timeout=0.0,
        policy_path="",
        accept_path="",
        models=models,
        notes=notes,
        environment=environment,
    )
