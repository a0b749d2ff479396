"""An A/A run in its folder: begun, interrupted, taken up again, finished. There it writes aa.json and noise.toml."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.aa import FEWEST, NOISE, PLAN_FILE, AaPlan, read_plan, run_aa, write_plan
from harness.aa_schema import RESULT, AaResult
from harness.code_hash import TREE, code_hash
from harness.environment import version
from harness.errors import BadCall
from harness.gate.arms import SIDES, Build
from harness.gate.gpus import visible_gpus
from harness.gate.plan import plan_models, require_models
from harness.gate.processes import Bench, interrupted
from harness.gate.schema import Arm
from harness.noise import NoiseFile, noise_text
from harness.planning import Sweep
from harness.progress import SweepProgress
from harness.rules import CAREFUL, quick
from harness.runner import WORKER
from harness.statistics import Policy
from harness.store import new_run_folder, require_folder, utc_now, write_atomically, write_record


@dataclass(frozen=True, kw_only=True)
class AaCall:
    """What was asked for. `sweep` holds matrix, rows, device and the folder that results go to."""

    sweep: Sweep
    processes: int
    timed: bool
    gpu: str
    out: Path | None  # the run's folder; None: a new one among the results


class AaInterrupted(KeyboardInterrupt):
    """Ctrl-C: finished processes stay."""

    def __init__(self, folder: Path) -> None:
        super().__init__(interrupted(folder, "aa"))


def start_aa(
    call: AaCall, policy: Policy, environment: Mapping[str, str], progress: SweepProgress
) -> tuple[Path, AaResult]:
    """Plan, measure, judge, write. Raises BadCall or BadInput before the first process, AaInterrupted after it."""
    if call.processes < FEWEST or call.processes % 2:
        raise BadCall(f"--rounds {call.processes}: expected an even number, at least {FEWEST}")
    folder = new_run_folder(call.sweep.results) if call.out is None else _new(call.out)
    try:
        plan = _plan(call, folder, progress)
        write_plan(folder, plan)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder, _run(plan, folder, call.sweep.cache, policy, environment, progress)


def without_times(call: AaCall, why: str) -> AaResult:
    """The answer where nothing is measured, because times of the device mean nothing."""
    return AaResult(
        started=utc_now(),
        command=call.sweep.command,
        device=call.sweep.device,
        gpu=None,
        tree=code_hash(TREE),
        version=version(),
        processes=0,
        owed=0,
        timed=False,
        rows=(),
        canaries=(),
        faults=(),
        notes=(why,),
        seconds=0.0,
        exit_code=3,
        headline=f"CANNOT TELL: {why}",
    )


def resume_aa(
    folder: Path, cache: Path, policy: Policy, environment: Mapping[str, str], progress: SweepProgress
) -> tuple[Path, AaResult]:
    """The same run again: processes of this code that its folder holds are not run a second time.

    Raises BadCall if it is no run, or was begun on another GPU or with models that are not here, or others now.
    """
    plan = read_plan(folder)
    if plan.gpu and plan.gpu not in visible_gpus(dict(environment)):
        raise BadCall(f"{folder}: was begun on GPU {plan.gpu}, which is not visible here; begin a new run")
    require_models(plan.models, folder=folder, cache=cache)
    return folder, _run(plan, folder, cache, policy, environment, progress)


def _plan(call: AaCall, folder: Path, progress: SweepProgress) -> AaPlan:
    models, notes, made = plan_models(call.sweep, folder, progress)
    return AaPlan(
        started=utc_now(),
        command=call.sweep.command,
        processes=call.processes,
        timed=call.timed,
        device=call.sweep.device,
        gpu=call.gpu,
        timeout=call.sweep.config.timeout,
        models=models,
        notes=notes,
        environment=made,
    )


def _run(
    plan: AaPlan, folder: Path, cache: Path, policy: Policy, environment: Mapping[str, str], progress: SweepProgress
) -> AaResult:
    here = Build(arm=Arm(spec="this installation", kind="commit", tree=code_hash(TREE)), command=WORKER)
    bench = Bench(
        folder=folder,
        builds=dict.fromkeys(SIDES, here),
        cache=cache,
        rules=CAREFUL if plan.timed else quick(1),
        ceilings=plan.environment.ceilings,
        timeout=plan.timeout,
        environment=environment,
        say=progress.say,
    )
    try:
        result = run_aa(plan, bench, policy)
    except KeyboardInterrupt:
        raise AaInterrupted(folder) from None
    except OSError as error:  # the disk is full, or the folder gone
        raise BadCall(f"the run cannot go on: {error.strerror} ({error.filename or folder})") from None
    write_record(folder / RESULT, result)
    if result.rows:
        write_atomically(folder / NOISE, noise_text(noise_file(result)).encode(errors="replace"))
    return result


def noise_file(result: AaResult) -> NoiseFile:
    """What of a run goes into noise.toml."""
    return NoiseFile(
        started=result.started,
        device=result.device,
        gpu=result.gpu,
        version=result.version,
        tree=result.tree,
        row=result.rows,
    )


def _new(folder: Path) -> Path:
    """A folder that the caller names. Raises BadCall if something is in it."""
    require_folder(folder, "folder")
    if (folder / PLAN_FILE).exists():
        raise BadCall(f"{folder}: holds an A/A run already; go on with it: zeroulp aa --resume {folder}")
    if any(folder.iterdir()):
        raise BadCall(f"{folder}: is not empty, expected a new folder")
    return folder
