"""A/A runs as a table: how noisy the rows of a machine are, and what a gate sees of them."""

from __future__ import annotations

from collections.abc import Sequence

from harness.aa_schema import AaResult, RowNoise
from harness.words import plural
from reports.document import Block, Paragraph, Table, table
from reports.reproduce import typed
from reports.text import one_line

COLUMNS = ("row", "metric", "median, us", "process noise (95 %)", "class", "pairs", "sees", "false alarms")


def blocks(results: Sequence[AaResult]) -> list[Block]:
    """One table of all rows, the runs they are of before it and the canaries behind it."""
    return [
        *(Paragraph(text=_run(result)) for result in results),
        *(typed(result.command) for result in results),
        _rows([row for result in results for row in result.rows]),
        _canaries(results),
    ]


def _run(result: AaResult) -> str:
    where = f"{result.gpu.name}, UUID {result.gpu.uuid[:8]}" if result.gpu else result.device
    return one_line(f"{where}, tree {result.tree}, {result.started}: {result.headline}", longest=400)


def _rows(rows: Sequence[RowNoise]) -> Table:
    lines = [
        (
            one_line(row.label),
            row.metric,
            f"{row.median_us:,.1f}",
            f"{_share(row.fit.sd)} ({_share(row.fit.low)} to {_share(row.fit.high)})",
            row.noise_class,
            f"{row.pairs:.1f}",
            f"{100 * row.smallest_visible:.1f} %",
            f"{row.false_alarms} of {row.splits:,}",
        )
        for row in rows
    ]
    return table(f"Noise of {plural(len(rows), 'time')} in an A/A run", COLUMNS, lines, numbers=COLUMNS[2:4])


def _canaries(results: Sequence[AaResult]) -> Table:
    lines = [
        (
            canary.name,
            result.gpu.uuid[:8] if result.gpu else result.device,
            f"{_share(canary.fit.sd)} ({_share(canary.fit.low)} to {_share(canary.fit.high)})",
            "moved"
            if any(fault.kind == "moved" and fault.label == canary.name for fault in result.faults)
            else "at rest",
        )
        for result in results
        for canary in result.canaries
    ]
    columns = ("canary", "GPU", "process noise (95 %)", "between the arms")
    return table("Canaries of the same runs", columns, lines, numbers=columns[2:3])


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"
