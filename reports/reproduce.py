"""A row in words, and the command that makes it again."""

from __future__ import annotations

import shlex

from harness.schema import PlannedRow, Row
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


def command(run_command: str, row: Row | PlannedRow) -> str:
    """The run's command narrowed down to one row. A second --where replaces the one that may be there already."""
    shape = row.shape
    facts: dict[str, str | int] = {
        "model": row.model.name,
        "quant": row.model.quant,
        "device": row.device,
        "depth": shape.depth,
        "prompt": shape.prompt,
        "generated": shape.generated,
        "context": shape.context,
        **row.toggles,
    }
    return f"{run_command} --where {shlex.quote(where(facts))}"


def where(facts: dict[str, str | int]) -> str:
    """A `--where` expression that holds for rows with these facts."""
    return " and ".join(f"{name} == {_literal(value)}" for name, value in facts.items())


def _literal(value: str | int) -> str:
    """A Python literal; in double quotes where that needs no escape, so that the shell can take single ones."""
    plain = isinstance(value, str) and value.isascii() and value.isprintable() and not set(value) & {'"', "\\"}
    return f'"{value}"' if plain else ascii(value)
