"""`zeroulp compare`: the rows of two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.edge import CANNOT_TELL
from harness.cli.options import FILE, json_option
from harness.words import plural

if TYPE_CHECKING:
    from harness.comparison import Comparison, Figure, RowPair

SHOWN = (("decode_tps", "decode t/s"), ("prefill_tps", "prefill t/s"), ("launches_per_token", "launches"))
WIDTH = 400  # columns: a row stays on one line, to be searched and cut by other programs
SETS = ("moved", "both", "alone")


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@click.option("--only", type=click.Choice(SETS), help="Rows that moved, that both runs have, or that one has alone.")
@click.option("--explain", "key", metavar="KEY", help="Every number behind a row; the beginning of its key will do.")
@click.option("--shared", is_flag=True, help="Rows that both runs have are enough: those of A alone are meant to be.")
@json_option
def compare(a: Path, b: Path, only: str | None, key: str | None, shared: bool, as_json: bool) -> int:
    """Show the rows of two run folders side by side.

    Rows of the same model, shape, toggles and device stand beside each other, those that moved first. A count or a
    proof moved if it is not the same. Times of two runs are not paired: one is called moved if the medians are 2 %
    apart and each lies outside the other's range. A row that A has alone has vanished, which is no pass unless
    --shared says that it is meant to be. To judge a change, use `zeroulp gate`.

    \b
    Examples:
      zeroulp compare results/20260101T120000Z-abc123 results/20260102T120000Z-def456
      zeroulp compare OLD NEW --only moved
      zeroulp compare WHOLE PART --shared
      zeroulp compare OLD NEW --explain 3f2a

    Exit codes: 0 shown, 1 a row that A proves B does not, 2 a bad call, 3 no row is in both, B lacks one of A or part
    of its proof, or did not make one that it planned; of several the first of 2, 1, 3, 0.
    """
    import msgspec

    from harness.comparison import compare_runs, row_of
    from harness.store import read_run

    found = compare_runs(read_run(a), read_run(b), shared=shared)
    if key is not None:
        pair = row_of(found, key)
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(pair), indent=2))
        else:
            _explain(found, pair)
        return found.exit_code
    shown = [row for row in found.rows if only is None or _is(row, only)]
    if as_json:
        result = msgspec.to_builtins(msgspec.structs.replace(found, rows=tuple(shown)))
        click.echo(json.dumps({"exit_code": found.exit_code, **result}, indent=2))
        return found.exit_code
    _print(found, shown)
    return found.exit_code


def _is(row: RowPair, only: str) -> bool:
    return bool(row.moved) if only == "moved" else (row.found == "both") == (only == "both")


def _print(found: Comparison, shown: list[RowPair]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    for text in (*found.problems, *(f"other environment, {text}" for text in found.environments)):
        click.echo(text)
    table = Table(box=None, pad_edge=False)
    for title in ("key", "row", "status", *(title for _, title in SHOWN), "moved"):
        table.add_column(title, justify="left" if title in ("key", "row", "status", "moved") else "right", no_wrap=True)
    for row in shown:
        figures = {figure.name: figure for figure in row.figures}
        cells = [_cell(figures.get(name)) for name, _ in SHOWN]
        moved = "; ".join(row.moved) or {"both": "", "only a": "only in A", "only b": "only in B"}[row.found]
        table.add_row(row.key[:8], escape(row.label), _status(row), *cells, escape(moved))
    if shown:
        Console(highlight=False, width=WIDTH).print(table, crop=False)
    both = [row for row in found.rows if row.found == "both"]
    moved_count = sum(bool(row.moved) for row in both)
    alone = [sum(row.found == side for row in found.rows) for side in ("only a", "only b")]
    verdict = "CANNOT TELL: " if found.exit_code == CANNOT_TELL else ""
    less = f", {found.less} with less of a proof" if found.less else ""
    meant = "; --shared if that is meant" if both and found.vanished and not found.shared else ""
    click.echo(
        f"{verdict}{plural(len(both), 'row')} in both, {moved_count} moved{less}; {alone[0]} only in {found.a}, "
        f"{alone[1]} only in {found.b}{meant}"
    )


def _explain(found: Comparison, pair: RowPair) -> None:
    click.echo(f"{pair.key}: {pair.label}")
    for name, folder, status, proof in (("A", found.a, pair.a, pair.a_proof), ("B", found.b, pair.b, pair.b_proof)):
        click.echo(f"  {name} {folder}: {status or 'not there'}{', ' + proof if proof else ''}")
    for text in found.environments:
        click.echo(f"  other environment, {text}")
    for figure in pair.figures:
        ratio = f", B / A {figure.ratio:.4f}" if figure.ratio is not None else ""
        sides = " against ".join(_with_range(v, r) for v, r in ((figure.a, figure.a_range), (figure.b, figure.b_range)))
        click.echo(f"  {figure.name}: {sides}{ratio}{', moved' if figure.moved and pair.found == 'both' else ''}")
    for text in pair.samples:
        click.echo(f"  {text}")
    for text in pair.checks:
        click.echo(f"  check {text}")
    for text in pair.moved:
        click.echo(f"  moved: {text}")


def _status(row: RowPair) -> str:
    return row.a if row.a == row.b else f"{row.a or '-'} / {row.b or '-'}"


def _cell(figure: Figure | None) -> str:
    """Both values, or one where they are the same."""
    if figure is None:
        return ""
    if figure.a == figure.b:
        return _number(figure.a)
    return f"{_number(figure.a)} / {_number(figure.b)}" + (f" ({figure.ratio:.3f})" if figure.ratio is not None else "")


def _with_range(value: float | None, between: tuple[float, float] | None) -> str:
    return _number(value) + (f" ({_number(between[0])} .. {_number(between[1])})" if between is not None else "")


def _number(value: float | None) -> str:
    from harness.comparison import number

    return "-" if value is None else number(value)
