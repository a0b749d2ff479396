"""Stored rows as a table: one flat line for each, the same columns in the index and in a CSV file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from harness.schema import Environment, Row, Samples, Spread
from harness.store import ROWS, lines, read_environments

Cell: TypeAlias = str | int | float | None

# column -> its type in SQL
COLUMNS: dict[str, str] = {
    "run": "TEXT",  # name of the run folder
    "id": "TEXT",
    "key": "TEXT",
    "model": "TEXT",
    "quant": "TEXT",
    "sha256": "TEXT",
    "prompt": "INTEGER",
    "generated": "INTEGER",
    "context": "INTEGER",
    "depth": "INTEGER",
    "verify": "INTEGER",
    "toggles": "TEXT",  # JSON, keys sorted
    "device": "TEXT",
    "status": "TEXT",
    "reason": "TEXT",
    "prefill_tps": "REAL",  # medians
    "decode_tps": "REAL",
    "prefill_us": "REAL",  # device time of the prompt
    "decode_us": "REAL",  # device time of a token
    "decode_stderr": "REAL",
    "discarded": "INTEGER",  # samples, of both
    "verify_ratio": "REAL",
    "host_us_per_token": "REAL",
    "launches_per_token": "REAL",
    "graph_kernels_per_token": "REAL",
    "percent_of_read_ceiling": "REAL",
    "memory_bytes": "INTEGER",
    "checks_passed": "INTEGER",
    "checks_failed": "INTEGER",
    "environment": "TEXT",
    "gpu": "TEXT",
    "gpu_uuid": "TEXT",
    "driver": "TEXT",
    "git_commit": "TEXT",
    "git_dirty": "INTEGER",
    "numerics": "INTEGER",
    "started": "TEXT",
    "seconds": "REAL",
}


def cells(run: str, row: Row, made: Environment | None) -> tuple[Cell, ...]:
    """In the order of COLUMNS. `made`: where the row was made, None if the run does not say."""
    metrics, gpu = row.metrics, made.gpu if made else None
    prefill, decode = (metrics.prefill, metrics.decode) if metrics else (None, None)
    states = [check.status for check in row.proof]
    shape, model = row.shape, row.model
    return (
        run,
        row.id,
        row.key,
        model.name,
        model.quant,
        model.sha256,
        shape.prompt,
        shape.generated,
        shape.context,
        shape.depth,
        shape.verify,
        json.dumps(row.toggles, sort_keys=True),
        row.device,
        row.status,
        row.reason,
        _median(metrics.prefill_tps if metrics else None),
        _median(metrics.decode_tps if metrics else None),
        _median(prefill),
        _median(decode),
        decode.stderr if decode else None,
        sum(item.discarded for item in (prefill, decode) if item) if metrics else None,
        metrics.verify_ratio if metrics else None,
        _median(metrics.host_us_per_token if metrics else None),
        metrics.launches_per_token if metrics else None,
        metrics.graph_kernels_per_token if metrics else None,
        metrics.percent_of_read_ceiling if metrics else None,
        metrics.memory_bytes if metrics else None,
        states.count("passed"),
        states.count("failed"),
        row.environment,
        gpu.name if gpu else "",
        gpu.uuid if gpu else "",
        gpu.driver if gpu else "",
        made.git_commit if made else "",
        int(made.git_dirty) if made else None,
        row.numerics,
        row.started,
        row.seconds,
    )


def run_cells(folder: Path, problems: list[str]) -> Iterable[tuple[Cell, ...]]:
    """The lines of a run folder, every one that was written; what cannot be read is added to `problems`."""
    made = read_environments(folder)
    for item in lines(folder / ROWS, Row):
        if isinstance(item, str):
            problems.append(f"{folder.name}: {item}")
        else:
            yield cells(folder.name, item, made.get(item.environment))


def to_csv(table: Iterable[tuple[Cell, ...]]) -> bytes:
    """With a head line. Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_harmless(cell) for cell in row] for row in table)
    return file.getvalue().encode()


def _harmless(cell: Cell) -> Cell:
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def _median(item: Spread | Samples | None) -> float | None:
    return item.median if item else None
