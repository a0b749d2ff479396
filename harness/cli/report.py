"""`zeroulp report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli.options import FILE, json_option


@click.command()
@click.argument("run", type=FILE)
@json_option
def report(run: Path, as_json: bool) -> int:
    """Write the report of a run folder again.

    That is report.md, report.html and the pictures. It reads the stored rows only; no engine and no GPU take part. The
    exit code is the run's verdict.

    \b
    Example:
      zeroulp report results/20260101T120000Z-abc123
    """
    return write_report(run, as_json=as_json)


def write_report(folder: Path, *, as_json: bool) -> int:
    """Write the report, say the verdict and where it is on the last line; returns the exit code."""
    from reports.run_report import write_report as write

    verdict = write(folder)
    place = folder / "report.html"
    if as_json:
        counts = {name: number for name, number in verdict.counts.items() if number}
        facts = {"exit_code": verdict.exit_code, "verdict": verdict.headline, "reasons": verdict.reasons}
        click.echo(json.dumps({**facts, "rows": counts, "run": str(folder), "report": str(place)}, indent=2))
        return verdict.exit_code
    for reason in verdict.reasons:
        click.echo(reason)
    click.echo(f"{verdict.headline}; report: {place}")
    return verdict.exit_code
