"""A row in words, and the command that makes it again."""

from __future__ import annotations

import shlex

from harness.schema import PlannedRow, Row
from harness.store import StoredRun
from reports.document import Command
from reports.text import one_line


def configuration(row: Row | PlannedRow) -> str:
    """Model, device, shape and toggles of a row in one line."""
    shape = row.shape
    start = f"at {shape.depth} " if shape.depth else ""
    toggles = ", ".join(f"{one_line(name)} {one_line(value)}" for name, value in row.toggles.items())
    return (
        f"{one_line(row.model.name)} {one_line(row.model.quant)} on {one_line(row.device)}; "
        f"{start}prompt {shape.prompt} + {shape.generated}, context {shape.context}; {toggles}"
    )


def typed(text: str) -> Command:
    """A command in a box of its own, on one line of visible characters."""
    return Command(text=one_line(text, longest=4000))


def command(run: StoredRun, row: Row | PlannedRow) -> str:
    """The run's command narrowed down to one row by what tells it from the other planned rows.

    A second --where replaces the first, so the run's own is taken over.
    """
    planned = [_fields(other) for other in run.plan.rows]
    mine = _fields(row)
    telling = {name: value for name, value in mine.items() if any(other.get(name) != value for other in planned)}
    terms = [f"({run.plan.where})"] if run.plan.where and telling else []
    terms += [f"{name} == {_literal(value)}" for name, value in telling.items()]
    if not terms:
        return run.environment.command
    return f"{run.environment.command} --where {shlex.quote(' and '.join(terms))}"


def _fields(row: Row | PlannedRow) -> dict[str, str | int]:
    """What a `--where` expression sees of a row."""
    model, shape = row.model, row.shape
    sizes = {"depth": shape.depth, "prompt": shape.prompt, "generated": shape.generated, "context": shape.context}
    return {"model": model.name, "quant": model.quant, "device": row.device, **sizes, **row.toggles}


def _literal(value: str | int) -> str:
    """A Python literal; in double quotes where that needs no escape, so that the shell can take single ones."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable() and not set(value) & {'"', "\\"}
    return f'"{value}"' if plain else ascii(value)
