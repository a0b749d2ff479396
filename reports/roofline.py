"""Where rows stand below the ceilings that were measured on their machine.

Intensity is operations per byte. The roof at an intensity is the lower of read bandwidth times intensity and the
compute ceiling of the weight type. Ceilings come from the run's environment; nothing is taken from a data sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.schema import Ceiling, Metrics, Row
from harness.store import StoredRun
from reports.text import one_line
from reports.units import PER_SECOND

READ = "read"
FLOAT_WEIGHTS = ("F32", "F16", "BF16")  # float32 multiply-adds; all other types multiply in int8
COMPUTE = {True: "fp32_fma", False: "int8_mma"}  # ceiling by "has float weights"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One phase of one row: operations per byte, operations per second, and the share of the roof above it."""

    row: str  # its key; of a profile, the kernel
    phase: str  # "decode" | "prefill"
    model: str
    quant: str
    context: int
    intensity: float
    rate: float
    roof: str  # name of the ceiling that limits here
    percent: float  # of that roof; NaN if no ceiling was measured
    title: str = ""  # what a picture calls it, if not model and weight type


def per_second(ceiling: Ceiling) -> float | None:
    """A bandwidth or compute ceiling in bytes or operations per second; None for other kinds, such as latencies."""
    scale = PER_SECOND.get(ceiling.unit)
    return None if scale is None else ceiling.median * scale


def points(run: StoredRun) -> tuple[Point, ...]:
    """All measured phases of all rows."""
    return tuple(point for row in run.rows for point in row_points(row, run.environment.ceilings))


def moves(run: StoredRun, before: StoredRun) -> tuple[tuple[Point, Point], ...]:
    """Points of an earlier run with those of the same configuration now, as far as there is exactly one.

    Rows are the same if model, weight type, shape, device and all toggles that both runs know are.
    """
    found: list[tuple[Point, Point]] = []
    for row in run.rows:
        olds = [old for old in before.rows if _same(old, row)]
        if len(olds) == 1:
            was = {point.phase: point for point in row_points(olds[0], before.environment.ceilings)}
            now = row_points(row, run.environment.ceilings)
            found += [(was[point.phase], point) for point in now if point.phase in was]
    return tuple(found)


def _same(old: Row, row: Row) -> bool:
    def facts(one: Row) -> tuple[object, ...]:
        return one.model.name, one.model.quant, one.shape, one.device

    shared = old.toggles.keys() & row.toggles.keys()
    return facts(old) == facts(row) and all(old.toggles[name] == row.toggles[name] for name in shared)


def row_points(row: Row, ceilings: Sequence[Ceiling]) -> tuple[Point, ...]:
    """Decode and prefill of a row, as far as they were timed."""
    if row.metrics is None or row.device == "host":
        return ()
    found = ((phase, *_work(row.metrics, phase)) for phase in ("decode", "prefill"))
    return tuple(
        _point(row, phase, size, work, tps, ceilings) for phase, size, work, tps in found if tps > 0 and size > 0
    )


def _work(metrics: Metrics, phase: str) -> tuple[float, float, float]:
    """Bytes per token, operations per token and tokens per second (0 if not timed) of a phase."""
    if phase == "decode":
        spread = metrics.decode_tps
        return metrics.bytes_per_token, metrics.operations_per_token, spread.median if spread else 0.0
    spread = metrics.prefill_tps
    return metrics.prefill_bytes_per_token, metrics.prefill_operations_per_token, spread.median if spread else 0.0


def _point(row: Row, phase: str, size: float, work: float, tps: float, ceilings: Sequence[Ceiling]) -> Point:
    intensity, rate = work / size, work * tps
    name = COMPUTE[row.model.quant in FLOAT_WEIGHTS]
    limits = [
        (READ, intensity * value) if ceiling.name == READ else (name, value)
        for ceiling in ceilings
        if ceiling.name in (READ, name) and (value := per_second(ceiling))
    ]
    if phase == "prefill" and name not in (limit[0] for limit in limits):
        limits = []  # compute limits a prefill; a share of the bandwidth alone would say nothing
    roof, limit = min(limits, key=lambda pair: pair[1], default=("", float("nan")))
    return Point(
        row=row.key,
        phase=phase,
        model=one_line(row.model.name),
        quant=one_line(row.model.quant),
        context=row.shape.context,
        intensity=intensity,
        rate=rate,
        roof=roof,
        percent=100 * rate / limit,
    )
