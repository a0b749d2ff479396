"""What a person sees while rows are made: a live bar on a terminal, one plain line for each row elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from harness.schema import PlannedRow, Row

COLOURS: Mapping[str, str] = {"ok": "green", "parity_failed": "red", "not_applicable": "yellow"}


class SweepProgress:
    """A context manager around a sweep. Writes to `file` (standard error), never to where results go."""

    def __init__(self, file: TextIO, *, quiet: bool = False) -> None:
        self._console = Console(file=file, quiet=quiet, highlight=False, soft_wrap=True)
        self._bar = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),  # last: what does not fit is cut
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("rows", total=None)
        self._total = self._done = self._found = 0
        self._begun = time.monotonic()
        self._running: dict[str, str] = {}

    def __enter__(self) -> SweepProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        self._console.print(escape(text))

    def begin(self, total: int, done: int) -> None:
        """`done` of `total` rows are there already."""
        self._total, self._done, self._found = total, done, done
        self._begun = time.monotonic()
        self._bar.update(self._task, total=total, completed=done)

    def started(self, row: PlannedRow) -> None:
        self._running[row.id] = row_name(row)
        self._describe()

    def finished(self, row: Row) -> None:
        self._running.pop(row.id, None)
        self._done += 1
        colour = COLOURS.get(row.status, "red")
        name = f", row {row.key}" if row.status != "ok" and row.key not in row.reason else ""
        reason = f"{name}: {row.reason}" if row.reason else name
        width = len(str(self._total))
        self._console.print(
            f"[{self._done:>{width}}/{self._total}] ".replace("[", "\\[")
            + f"[{colour}]{row.status:<13}[/] {escape(row_name(row))}  {row.seconds:.1f} s"
            + escape(reason)
            + remaining(self._done - self._found, self._total - self._done, time.monotonic() - self._begun)
        )
        self._bar.update(self._task, completed=self._done)
        self._describe()

    def _describe(self) -> None:
        first = next(iter(self._running.values()), "rows")
        more = f" and {len(self._running) - 1} more" if len(self._running) > 1 else ""
        self._bar.update(self._task, description=escape(first + more))


def remaining(made: int, left: int, seconds: float) -> str:
    """What the rows that are left take if they are like those made so far; empty below a minute."""
    minutes = left * seconds / made / 60
    return f", about {minutes:,.0f} min left" if minutes >= 1 else ""


def row_name(row: PlannedRow | Row) -> str:
    """Model, shape and toggles on one short line."""
    shape, toggles = row.shape, row.toggles
    named = ", ".join(f"{name} {toggles[name]}" for name in ("engine", "graph", "prefill", "kv") if name in toggles)
    depth = f" at {shape.depth}" if shape.depth else ""
    verify = f", {shape.verify} verified at once" if shape.verify else ""
    return f"{row.model.name} {row.model.quant}, {shape.prompt} + {shape.generated} tokens{depth}{verify}, {named}"
