"""Which processes run, in which order: base and head in turn, ABBA, until every row has a verdict or the looks end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.gate.arms import Side
from harness.gate.evidence import Evidence, RowEvidence
from harness.gate.processes import Bench, Stage, Step
from harness.gate.times import TIME_METRICS, UNGATEABLE, NoiseClasses, judge_times
from harness.schema import PlannedRow
from harness.statistics import Policy

NOT_KNOWN: NoiseClasses = {}


@dataclass(frozen=True, kw_only=True)
class ModelRows:
    """The rows of one model, which one process measures, and its file."""

    number: int
    path: str
    rows: tuple[PlannedRow, ...]


def order(pair: int) -> tuple[Side, Side]:
    """AB, BA, BA, AB, and again: a drift over the run falls on both arms alike."""
    return ("base", "head") if pair % 4 in (0, 3) else ("head", "base")


def run_pairs(
    bench: Bench,
    models: Sequence[ModelRows],
    policy: Policy,
    *,
    stage: Stage,
    gpu: str,
    looks: Sequence[int],
    noise: NoiseClasses = NOT_KNOWN,
) -> tuple[Evidence, int]:
    """Measure to the first look; go on with the rows that need more, to the next. Also the number of pairs.

    A time that is known to be ungateable asks for none: it could not be called slower by them.
    """
    evidence = Evidence.owed(row for model in models for row in model.rows)
    done = spent = 0
    for look in looks:
        asking = [(model, _asking(model, evidence, policy, noise)) for model in models]
        asking = [(model, rows) for model, rows in asking if rows]
        left = 2 * (look - done) * len(asking)
        for pair in range(done, look):
            for model, asked in asking:
                rows = tuple(row for row in asked if not evidence.rows[row.key].ended)
                left -= 2
                if not rows:
                    continue
                spent += 1
                for place, side in enumerate(order(pair)):
                    step = Step(
                        stage=stage,
                        side=side,
                        group=model.number,
                        pair=pair,
                        rows=rows,
                        model_path=model.path,
                        gpu=gpu,
                    )
                    evidence.add(bench.measure(step, left=left + 2 - place))
        done = look
    return evidence, spent


def check_again(
    bench: Bench, models: Sequence[ModelRows], evidence: Evidence, keys: frozenset[str], *, gpu: str
) -> None:
    """Parity of these rows of head once more, in fresh processes."""
    for model in models:
        rows = tuple(row for row in model.rows if row.key in keys)
        if rows:
            step = Step(
                stage="recheck", side="head", group=model.number, pair=0, rows=rows, model_path=model.path, gpu=gpu
            )
            evidence.add(bench.measure(step, left=1))


def measure_once(bench: Bench, models: Sequence[ModelRows], evidence: Evidence, side: Side, *, gpu: str) -> None:
    """One process for each model of one arm: parity and counts need no more."""
    for i, model in enumerate(models):
        step = Step(
            stage="pairs", side=side, group=model.number, pair=0, rows=model.rows, model_path=model.path, gpu=gpu
        )
        evidence.add(bench.measure(step, left=len(models) - i))


def _asking(model: ModelRows, evidence: Evidence, policy: Policy, noise: NoiseClasses) -> tuple[PlannedRow, ...]:
    """The rows that need more pairs; before the first, all of them."""
    return tuple(row for row in model.rows if _needs_more(evidence.rows[row.key], policy, noise))


def _needs_more(row: RowEvidence, policy: Policy, noise: NoiseClasses) -> bool:
    if not row.base and not row.faults:
        return True
    if row.ended:
        return False
    worth = [metric for metric in TIME_METRICS if noise.get((row.row.key, metric)) != UNGATEABLE]
    judged = [judge_times(row, metric, policy) for metric in worth]
    return any(timed is not None and timed.verdict == "more" for timed in judged)
