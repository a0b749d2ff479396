"""A row in words, and the command that makes it again."""

from __future__ import annotations

import shlex

from harness.schema import PlannedRow, Row
from harness.store import StoredRun
from harness.where import telling
from reports.document import Command
from reports.text import one_line


def configuration(row: Row | PlannedRow) -> str:
    """Model, device, shape and toggles of a row in one line."""
    shape = row.shape
    start = f"at {shape.depth} " if shape.depth else ""
    end = f", {shape.verify} verified at once" if shape.verify else ""
    toggles = ", ".join(f"{one_line(name)} {one_line(value)}" for name, value in row.toggles.items())
    return (
        f"{one_line(row.model.name)} {one_line(row.model.quant)} on {one_line(row.device)}; "
        f"{start}prompt {shape.prompt} + {shape.generated}, context {shape.context}{end}; {toggles}"
    )


def typed(text: str) -> Command:
    """A command in a box of its own, on one line of visible characters."""
    return Command(text=one_line(text, longest=4000))


def command(run: StoredRun, row: Row | PlannedRow) -> str:
    """The run's command narrowed down to one row by what tells it from the other planned rows."""
    where = telling(row, run.plan.rows, run.plan.where)
    return f"{run.environment.command} --where {shlex.quote(where)}" if where else run.environment.command
