"""A gate in its folder: begun, interrupted, taken up again, finished. There it writes gate.json and junit.xml."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import msgspec

from harness.config import parse_config
from harness.errors import BadCall
from harness.gate.accept import read_accepted
from harness.gate.again import RESULT, judge_again, kept_gate
from harness.gate.arms import SIDES, Side, Source, build_arms, remove_worktrees, resolve, uncommitted
from harness.gate.environments import Sharing
from harness.gate.outputs import junit
from harness.gate.plan import GatePlan, plan_models, plan_stored, read_plan, require_models, write_plan
from harness.gate.processes import PROCESSES, Bench, interrupted
from harness.gate.run import Arms, Settings, run_gate
from harness.gate.schema import PLAN_FILE, GateResult, SelftestScore, encode
from harness.gate.stored import StoredArm, read_arm
from harness.noise import read_noise
from harness.planning import Sweep
from harness.policy import read_policy
from harness.progress import SweepProgress
from harness.rules import CAREFUL
from harness.schema import FOREIGN
from harness.selftest import of_other_code, score_of
from harness.statistics import Policy
from harness.store import new_run_folder, require_folder, utc_now, write_atomically

JUNIT = "junit.xml"
PROBE_FOLDER = "probe"


@dataclass(frozen=True, kw_only=True)
class GateCall:
    """What was asked for. `sweep` holds matrix, rows, device and the folder that results go to."""

    base: str
    head: str
    directory: Path  # that names are relative to
    sweep: Sweep
    matrix_given: bool
    options: tuple[str, ...]  # as they were given, without --where, --out and the arms
    gpu: str
    others: tuple[str, ...]  # GPUs to confirm on
    out: Path | None  # the gate's folder; None: a new one among the results
    sharing: Sharing
    policy: Path | None
    accept: Path | None
    noise: Path | None
    selftest: SelftestScore | None


@dataclass(frozen=True, kw_only=True)
class Here:
    """The process a gate runs in, which a resumed one may share with no earlier one."""

    cache: Path
    environment: Mapping[str, str]
    today: date


class GateInterrupted(KeyboardInterrupt):
    """Ctrl-C: finished processes stay."""

    def __init__(self, folder: Path) -> None:
        super().__init__(interrupted(folder, "gate"))
        self.folder = folder


def start_gate(call: GateCall, here: Here, progress: SweepProgress) -> tuple[Path, GateResult]:
    """Plan, measure, judge, write. Raises BadCall or BadInput before the first process, GateInterrupted after it."""
    sources = _sources(call.base, call.head, call.directory)
    _settings(call.policy, call.accept, call.noise, here.today)  # a bad file is said before anything is made
    again = kept_gate(sources)
    folder = new_run_folder(call.sweep.results) if call.out is None else _new(call.out)
    if again is not None:
        settings = _settings(call.policy, call.accept, call.noise, here.today)
        result = judge_again(again, settings, call.sweep.command, cache=here.cache)
        _write(folder, result)
        return folder, result
    try:
        plan = _plan(call, sources, folder, progress)
        write_plan(folder, plan)
    except BaseException:
        shutil.rmtree(folder)
        raise
    try:
        return folder, _run(plan, sources, folder, here, progress)
    except BadCall:
        if not (folder / PROCESSES).exists():  # nothing was measured: there is nothing to go on with
            shutil.rmtree(folder)
        raise


def resume_gate(folder: Path, here: Here, progress: SweepProgress) -> tuple[Path, GateResult]:
    """The same gate again: what its folder holds is not measured a second time.

    Raises BadCall if it is none, or its models are not those that it was begun with.
    """
    plan = read_plan(folder)
    named = {side: plan.commits.get(side) or getattr(plan, side) for side in SIDES}
    sources = _sources(named["base"], named["head"], Path(plan.directory))
    sources = {side: replace(source, spec=getattr(plan, side)) for side, source in sources.items()}
    if any(source.run is None for source in sources.values()):
        require_models(plan.models, folder=folder, cache=here.cache)
    return folder, _run(plan, sources, folder, here, progress)


def _sources(base: str, head: str, directory: Path) -> dict[Side, Source]:
    return {"base": resolve(base, directory), "head": resolve(head, directory)}


def _plan(call: GateCall, sources: Mapping[Side, Source], folder: Path, progress: SweepProgress) -> GatePlan:
    stored = {side: read_arm(source.spec, source.run) for side, source in sources.items() if source.run is not None}
    sweep = _sweep(call, stored)
    logs = folder / PROBE_FOLDER
    logs.mkdir()
    if len(stored) == len(SIDES):
        models, notes, made = plan_stored(stored, sweep.where)
    else:
        models, notes, made = plan_models(sweep, logs, progress)
    shutil.rmtree(logs)
    return GatePlan(
        started=utc_now(),
        command=sweep.command,
        rerun=shlex.join(["zeroulp", "gate", *(sources[side].fixed for side in SIDES), *call.options]),
        base=call.base,
        head=call.head,
        commits={side: source.commit for side, source in sources.items() if source.commit},
        directory=str(call.directory),
        sharing=call.sharing,
        matrix=sweep.matrix,
        matrix_path=sweep.matrix_path,
        where=sweep.where,
        device=sweep.device,
        gpu=call.gpu,
        others=call.others,
        timeout=sweep.config.timeout,
        policy_path=str(call.policy.absolute()) if call.policy else "",
        accept_path=str(call.accept.absolute()) if call.accept else "",
        noise_path=str(call.noise.absolute()) if call.noise else "",
        selftest=call.selftest,
        models=models,
        notes=(*notes, *_uncommitted(sources)),
        environment=made,
    )


def _run(
    plan: GatePlan, sources: Mapping[Side, Source], folder: Path, here: Here, progress: SweepProgress
) -> GateResult:
    paths = (plan.policy_path, plan.accept_path, plan.noise_path)
    policy, accept, noise = (Path(text) if text else None for text in paths)
    settings = _settings(policy, accept, noise, here.today)
    try:
        arms = _arms(plan, sources, folder, progress)
        if "head" in arms.builds:
            plan = _with_score(plan, folder / "head" / "tree", here.cache)
        bench = Bench(
            folder=folder,
            builds=arms.builds,
            cache=here.cache,
            rules=CAREFUL,
            ceilings=plan.environment.ceilings,
            timeout=plan.timeout,
            environment=here.environment,
            say=progress.say,
        )
        result = run_gate(plan, bench, arms, settings)
    except KeyboardInterrupt:
        raise GateInterrupted(folder) from None
    except OSError as error:  # the disk is full, or the folder gone
        raise BadCall(f"the gate cannot go on: {error.strerror} ({error.filename or folder})") from None
    _write(folder, result)
    _tidy(sources, folder)
    return result


def _with_score(plan: GatePlan, tree: Path, cache: Path) -> GatePlan:
    """Of the selftest: the score that was given, else what is kept of exactly the code of head."""
    if plan.selftest is None:
        return msgspec.structs.replace(plan, selftest=score_of(tree, plan.device, cache))
    note = of_other_code(plan.selftest, tree)
    return msgspec.structs.replace(plan, notes=(*plan.notes, *([note] if note else [])))


def _write(folder: Path, result: GateResult) -> None:
    write_atomically(folder / RESULT, encode(result))
    write_atomically(folder / JUNIT, junit(result))


def _arms(plan: GatePlan, sources: Mapping[Side, Source], folder: Path, progress: SweepProgress) -> Arms:
    stored = {side: read_arm(source.spec, source.run) for side, source in sources.items() if source.run is not None}
    live = {side: source for side, source in sources.items() if source.run is None}
    if not live:
        return Arms(builds={}, stored=stored)
    try:
        builds = build_arms(live, folder, sharing=plan.sharing, device=plan.device)
    except BadCall:
        _tidy(sources, folder)
        raise
    for side, build in builds.items():
        arm = build.arm
        progress.say(f"{side}: {arm.git_sha[:12] or arm.spec}, source tree {arm.tree}, {arm.built}")
    return Arms(builds=builds, stored=stored)


def _settings(policy: Path | None, accept: Path | None, noise: Path | None, today: date) -> Settings:
    return Settings(
        policy=read_policy(policy) if policy is not None else Policy(),
        accepted=read_accepted(accept, today),
        noise={(row.key, row.metric): row.noise_class for row in read_noise(noise).row} if noise is not None else {},
    )


def _sweep(call: GateCall, stored: Mapping[Side, StoredArm]) -> Sweep:
    """Its rows are those of the matrix that was given, else of a run that is an arm, else of the built-in one."""
    if len(stored) == len(SIDES) and all(arm.run.plan.device == FOREIGN for arm in stored.values()):
        return replace(call.sweep, device=FOREIGN)
    for side, arm in stored.items():
        device = arm.run.plan.device or call.sweep.device
        if device != call.sweep.device:
            raise BadCall(f"{side} {arm.arm.spec}: was made on device {device}, and the gate is on {call.sweep.device}")
    if call.matrix_given and len(stored) == len(SIDES):
        raise BadCall("two run folders owe what they planned: give no matrix with them")
    given = next((arm.run.plan for arm in stored.values() if arm.run.plan.matrix), None)
    if call.matrix_given or given is None:
        return call.sweep
    place = Path(given.matrix_path) if given.matrix_path else Path("plan.json")
    return replace(
        call.sweep, config=parse_config(given.matrix, place), matrix=given.matrix, matrix_path=given.matrix_path
    )


def _uncommitted(sources: Mapping[Side, Source]) -> list[str]:
    if any(uncommitted(source) for source in sources.values()):
        return ["the checkout has uncommitted changes, which are in neither arm"]
    return []


def _new(folder: Path) -> Path:
    """A folder that the caller names. Raises BadCall if something is in it."""
    require_folder(folder, "folder")
    if (folder / PLAN_FILE).exists():
        raise BadCall(f"{folder}: holds a gate already; go on with it: zeroulp gate --resume {folder}")
    if any(folder.iterdir()):
        raise BadCall(f"{folder}: is not empty, expected a new folder")
    return folder


def _tidy(sources: Mapping[Side, Source], folder: Path) -> None:
    """Builds go; what they answered stays."""
    remove_worktrees(sources, folder)
    for side in SIDES:
        shutil.rmtree(folder / side, ignore_errors=True)
