"""`zeroulp report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.options import FILE, json_option


@click.command()
@click.argument("run", type=FILE)
@click.option("--against", type=FILE, metavar="OLD", help="An earlier run folder to set the figures beside.")
@json_option
def report(run: Path, against: Path | None, as_json: bool) -> int:
    """Write the report of a run folder again.

    That is report.md, report.html and the pictures. It reads what is stored; no engine and no GPU take part. RUN is a
    folder of bench-allrows or of bench kernels. With --against, kernels get columns for the earlier times and points
    of the roofline an arrow from where they were. The exit code is the run's verdict.

    \b
    Examples:
      zeroulp report results/20260101T120000Z-abc123
      zeroulp report results/20260102T120000Z-def456 --against results/20260101T120000Z-abc123
    """
    return write_report(run, as_json=as_json, against=against)


def write_report(folder: Path, *, as_json: bool, against: Path | None = None) -> int:
    """Write the report, say the verdict and where it is on the last line; returns the exit code."""
    from reference.spec.gguf_file import shown_path
    from reports.run_report import write_report as write

    verdict = write(folder, against=against)
    place = folder / "report.html"
    if as_json:
        counts = {name: number for name, number in verdict.counts.items() if number}
        facts = {"exit_code": verdict.exit_code, "verdict": verdict.headline, "reasons": verdict.reasons}
        click.echo(json.dumps({**facts, "rows": counts, "run": str(folder), "report": str(place)}, indent=2))
        return verdict.exit_code
    for reason in verdict.reasons:
        click.echo(reason)
    click.echo(f"{verdict.headline}; report: {shown_path(place)}")
    return verdict.exit_code
