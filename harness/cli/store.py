"""`zeroulp store`: the stored lines as an index, as a table, with other programs' figures, put together."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.options import json_option
from harness.errors import BadCall
from harness.words import plural

FOLDERS = click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.group(invoke_without_command=True)
@click.pass_context
def store(context: click.Context) -> None:
    """Stored runs: index, table, import, merge.

    A run folder's JSON lines are the truth, and each file has one writer. All that is made here is made from them.
    FOLDER is a run folder, or a folder of run folders such as results/.

    \b
    Examples:
      zeroulp store index results
      zeroulp store export results -o rows.csv
      zeroulp store import kernels.json --into results/kernels
      zeroulp store merge results/a results/b -o results/both

    Exit codes: 0 done, 2 bad call.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@store.command()
@FOLDERS
@click.option("-o", "--output", type=click.Path(path_type=Path), help="[default: FOLDER/index.sqlite if there is one]")
@json_option
def index(folders: tuple[Path, ...], output: Path | None, as_json: bool) -> None:
    """Build an SQLite index from the JSON lines of runs; one that is there is replaced when the new one is whole.

    \b
    Tables: runs, environments, rows (every line, by run, id and key), peers, imported, problems.
    Examples:
      zeroulp store index results
      sqlite3 results/index.sqlite 'SELECT model, quant, decode_tps FROM rows WHERE status = "ok"'
    """
    from harness.index import build_index

    if output is None and len(folders) > 1:
        raise BadCall("store index: several folders, expected -o with the database to write")
    made = build_index(folders, output or folders[0] / "index.sqlite")
    if as_json:
        facts = {"index": str(made.path), "runs": made.runs, "rows": made.rows, "imported": made.imported}
        click.echo(json.dumps({**facts, "problems": list(made.problems)}))
        return
    _tell(made.problems)
    click.echo(
        f"{made.path}: {plural(made.rows, 'row')} and {plural(made.imported, 'imported figure')} "
        f"of {plural(made.runs, 'run')}"
    )


@store.command()
@FOLDERS
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The .csv file to write.")
@json_option
def export(folders: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Write every stored row as a line of CSV, medians for spreads.

    \b
    Example:
      zeroulp store export results/20260101T120000Z-abc123 -o rows.csv
    """
    from harness.index import find_runs
    from harness.store import PLAN, write_atomically
    from harness.table import run_cells, to_csv

    problems: list[str] = []
    table = [cells for run in find_runs(folders) if (run / PLAN).is_file() for cells in run_cells(run, problems)]
    write_atomically(output, to_csv(table))
    if as_json:
        click.echo(json.dumps({"csv": str(output), "rows": len(table), "problems": problems}))
        return
    _tell(problems)
    click.echo(f"{output}: {plural(len(table), 'row')}")


@store.command("import")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--into", required=True, type=click.Path(path_type=Path), help="The folder to add to; made if missing.")
@json_option
def import_(files: tuple[Path, ...], into: Path, as_json: bool) -> None:
    """Keep figures of other programs beside ours: JSON of pytest-benchmark (--benchmark-json) or llama-bench (-o json).

    They are stored as these programs give them (imported.jsonl), are never taken for rows of ours, and go into the
    index. A figure that is there already is not added again.

    \b
    Examples:
      zeroulp store import kernels.json --into results/kernels
      llama-bench -m model.gguf -o json > bench.json; zeroulp store import bench.json --into results/peers
    """
    from harness.imports import add, read_file

    records = [record for file in files for record in read_file(file)]  # all are read before anything is written
    added = add(records, into)
    if as_json:
        click.echo(json.dumps({"folder": str(into), "new": added.new, "known": added.known}))
        return
    click.echo(f"{into}: {plural(added.new, 'figure')} added, {added.known} were there")


@store.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The run folder to make.")
@json_option
def merge(runs: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Put runs of several machines together as one run folder; the runs stay as they are.

    \b
    Example:
      zeroulp store merge from-gpu-1 from-gpu-2 -o results/both && zeroulp report results/both
    """
    from harness.index import find_runs
    from harness.merge import merge_runs

    command = " ".join(["zeroulp store merge", *map(str, runs), "-o", str(output)])
    made = merge_runs(find_runs(runs), output, command=command)
    if as_json:
        facts = {"folder": str(made.folder), "runs": made.runs, "rows": made.rows, "repeated": made.repeated}
        click.echo(json.dumps({**facts, "problems": list(made.problems)}))
        return
    _tell(made.problems)
    click.echo(
        f"{made.folder}: {plural(made.rows, 'row')} of {plural(made.runs, 'run')}, "
        f"{plural(made.repeated, 'line was', 'lines were')} in several"
    )


def _tell(problems: tuple[str, ...] | list[str]) -> None:
    for problem in problems:
        click.echo(problem, err=True)
