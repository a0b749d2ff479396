"""A gate without a GPU: its processes answer from a seeded noise model, with the faults that a test plants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from harness.gate.accept import Accepted
from harness.gate.arms import SIDES, Build, Side
from harness.gate.plan import GatePlan, PlannedModel
from harness.gate.processes import Bench, plain_uuid
from harness.gate.run import Arms, Settings, run_gate
from harness.gate.schema import Arm, GateResult, RowVerdict
from harness.job import ProcessJob
from harness.rules import CAREFUL
from harness.runner import Finished, Pool, Started, Task
from harness.schema import Canary, Check, Gpu, Measurement, PlannedRow, ProcessAnswer, Samples, Shape
from harness.schema import Path as Engagement
from harness.statistics import Policy
from suites.harness.records import MODEL, TIME, TOGGLES, environment

HERE, ELSEWHERE = "GPU-aaaaaaaa-0000-0000-0000-000000000001", "GPU-bbbbbbbb-0000-0000-0000-000000000002"
TODAY = date(2026, 1, 2)
NOISE = 0.002  # between processes
US = {"prefill": 9000.0, "decode": 2500.0}
CanaryName = Literal["copy", "matvec", "empty_graph"]
CHECKS = ("graph = direct", "engine = oracle")


def gpu(uuid: str) -> Gpu:
    return Gpu(
        name="A GPU",
        uuid=plain_uuid(uuid),
        compute_capability="9.0",
        multiprocessors=1,
        memory_bytes=1,
        driver="1",
        cuda="1",
    )


@dataclass(frozen=True, kw_only=True)
class Act:
    """One process as a fault sees it."""

    side: Side
    stage: str
    pair: int
    gpu: str


# What a fault makes of a measurement of the row with this prompt, or of the whole answer.
Spoil = Callable[[Act, Measurement, int], Measurement | None]
SpoilAnswer = Callable[[Act, ProcessAnswer], ProcessAnswer]


@dataclass(kw_only=True)
class Machine:
    """Stands in for harness.runner.run. `acts` are the processes that ran, in order."""

    spoil: Spoil = lambda act, measured, prompt: measured
    answer: SpoilAnswer = lambda act, answer: answer
    dies: Callable[[Act], str] = lambda act: ""  # why, if it does
    acts: list[Act] = field(default_factory=list)

    def run(self, tasks: Iterable[Task], pool: Pool) -> Iterator[Started | Finished]:
        for task in tasks:
            stage, _, pair, side = task.key.split("-")
            act = Act(
                side="base" if side == "base" else "head",
                stage=stage,
                pair=int(pair),
                gpu=pool.environment.get("CUDA_VISIBLE_DEVICES", ""),
            )
            self.acts.append(act)
            yield Started(key=task.key)
            why = self.dies(act)
            if why:
                yield Finished(key=task.key, ending="died", answer=b"", reason=why, seconds=1.0)
                continue
            assert isinstance(task.job, ProcessJob)
            answer = msgspec.json.encode(self.answer(act, self._answer(act, task.job)))
            yield Finished(key=task.key, ending="answered", answer=answer, reason="", seconds=1.0)

    def _answer(self, act: Act, job: ProcessJob) -> ProcessAnswer:
        noise = np.random.default_rng([job.seed, SIDES.index(act.side)])
        found = [(self.spoil(act, _measurement(row, act, noise), row.shape.prompt)) for row in job.rows]
        names: tuple[CanaryName, ...] = ("copy", "matvec", "empty_graph") if job.canaries else ()
        canaries = [Canary(name=name, samples=samples(100.0 * _blur(noise) ** 0.2)) for name in names]
        return ProcessAnswer(
            version="0.1.0",
            git_commit=f"{act.side}-commit",
            tree=f"{act.side}-tree",
            numerics=1,
            gpu=gpu(act.gpu) if act.gpu else None,
            started=TIME,
            seconds=1.0,
            order=tuple(row.key for row in job.rows),
            rows=tuple(one for one in found if one is not None),
            canaries=tuple(canaries),
        )


def samples(median: float, *, mhz: float = 1980.0, discarded: int = 0) -> Samples:
    reasons = {"hw_thermal_slowdown": discarded} if discarded else {}
    values = (median,) * 50
    return Samples(
        unit="us",
        values=values,
        median=median,
        stderr=0.001,
        sm_mhz=(mhz,) * 50,
        discarded=discarded,
        reasons=reasons,
    )


def _blur(noise: np.random.Generator) -> float:
    return float(np.exp(NOISE * noise.standard_normal()))


def _measurement(row: PlannedRow, act: Act, noise: np.random.Generator) -> Measurement:
    timed = bool(act.gpu)
    return Measurement(
        key=row.key,
        id=row.id,
        status="ok",
        prefill=samples(US["prefill"] * _blur(noise)) if timed else None,
        decode=samples(US["decode"] * _blur(noise)) if timed else None,
        proof=tuple(
            Check(name=name, when=when, status="passed", values=1000, worst_ulp=0)
            for when in ("before", "after")
            for name in CHECKS
        ),
        engaged={"graph": Engagement(asked="on", engaged=True)},
        launches_per_token=1.0,
        graph_kernels_per_token=40.0,
    )


def planned(prompt: int) -> PlannedRow:
    shape = Shape(prompt=prompt, generated=8, context=512)
    return PlannedRow(id=f"row{prompt}", model=MODEL, shape=shape, toggles=TOGGLES, device="cuda")


def plan(*prompts: int, device: str = "cuda", others: Sequence[str] = ()) -> GatePlan:
    rows = tuple(msgspec.structs.replace(planned(prompt), device=device) for prompt in prompts)
    return GatePlan(
        started=TIME,
        command="zeroulp gate main mine",
        rerun="zeroulp gate main mine",
        base="main",
        head="mine",
        commits={},
        directory=".",
        sharing="auto",
        matrix="",
        matrix_path="",
        where="",
        device=device,
        gpu=HERE if device == "cuda" else "",
        others=tuple(others),
        timeout=60,
        policy_path="",
        accept_path="",
        models=(PlannedModel(path="m.gguf", rows=rows),),
        notes=(),
        environment=environment(),
    )


def builds(*, engine_changed: bool = True) -> dict[Side, Build]:
    return {
        side: Build(
            arm=Arm(
                spec=side,
                kind="commit",
                git_sha=f"{side}-commit",
                tree=f"{side}-tree",
                engine=f"{side}-engine" if engine_changed else "engine",
                built="not at all",
            ),
            command=("no", "worker"),
        )
        for side in SIDES
    }


def gate(
    folder: Path,
    machine: Machine,
    made: GatePlan,
    *,
    accepted: Accepted | None = None,
    lines: list[str] | None = None,
    engine_changed: bool = True,
    noise: Mapping[tuple[str, str], str] | None = None,
) -> GateResult:
    said = lines if lines is not None else []
    arms = builds(engine_changed=engine_changed)
    bench = Bench(
        folder=folder,
        builds=arms,
        cache=folder / "cache",
        rules=CAREFUL,
        timeout=made.timeout,
        environment={},
        say=said.append,
        runner=machine.run,
    )
    settings = Settings(policy=Policy(), accepted=accepted or Accepted(today=TODAY), noise=noise or {})
    return run_gate(made, bench, Arms(builds=arms, stored={}), settings)


def one(result: GateResult, prompt: int, metric: str) -> RowVerdict:
    [row] = [row for row in result.rows if row.shape.prompt == prompt and row.metric == metric]
    return row


def scaled(measured: Measurement, factor: float, *metrics: str) -> Measurement:
    """The same with its times multiplied."""
    changes = {name: samples(getattr(measured, name).median * factor) for name in metrics or ("decode",)}
    return msgspec.structs.replace(measured, **changes)
