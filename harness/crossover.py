"""From the times of both ways to multiply by a weight to the table by which the engine chooses between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import BadCall
from harness.schema import Spread

ROWS = (1, 2, 4, 8, 16, 32)  # activation rows at which both ways are timed
SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Both ways at one number of rows; microseconds of one product with cold weights."""

    type: str
    outputs: int
    cols: int
    rows: int
    matvec: Spread
    batch: Spread
    path: str  # of the latter: few or gemm, what the engine takes where it does not take the matvec

    @property
    def weight(self) -> tuple[str, int, int]:
        return self.type, self.outputs, self.cols

    @property
    def matvec_is_faster(self) -> bool:
        return self.matvec.median <= self.batch.median


def crossovers(found: Sequence[Timed]) -> dict[tuple[str, int, int], int]:
    """By type, outputs and columns: the most rows up to which the matvec was faster at every number that was timed.

    One row is the matvec's, whatever was timed: it is the row of a step, whose fused kernels are matvecs.
    """
    most: dict[tuple[str, int, int], int] = {}
    for weight in dict.fromkeys(item.weight for item in found):
        times = sorted((item for item in found if item.weight == weight), key=lambda item: item.rows)
        most[weight] = 1
        for item in times:
            if item.rows > 1 and not item.matvec_is_faster:
                break
            most[weight] = max(most[weight], item.rows)
    return most


def table_text(gpu: str, found: Sequence[Timed], *, command: str) -> str:
    """The table as engine/ops/_crossover.py reads it. Raises BadCall for a name that it could not hold."""
    if not gpu.isprintable() or set(gpu) & {'"', "\\"} or not found:
        raise BadCall(f"crossover of {gpu!r}: expected a printable name and at least one weight")
    head = [f"# Measured: {command}", f"schema = {SCHEMA}", f'gpu = "{gpu}"', ""]
    body = [
        f'[[weight]]\ntype = "{type_}"\noutputs = {outputs}\ncols = {cols}\nmatvec_rows = {rows}\n'
        for (type_, outputs, cols), rows in sorted(crossovers(found).items())
    ]
    return "\n".join([*head, *body])


def lines(found: Iterable[Timed]) -> list[str]:
    """For a terminal: a line for each weight and number of rows, with the faster way."""
    lines = [f"{'weight':>26} {'rows':>5} {'matvec us':>10} {'batch us':>10}  faster"]
    for item in found:
        weight = f"{item.type} {item.outputs} x {item.cols}"
        faster = "matvec" if item.matvec_is_faster else item.path
        lines.append(
            f"{weight:>26} {item.rows:>5} {item.matvec.median:>10.2f} {item.batch.median:>10.2f}  {faster}"
        )  # fmt: skip
    return lines
