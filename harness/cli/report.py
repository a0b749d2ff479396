"""`zeroulp report`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option
from harness.cli.report_post import post
from harness.cli.report_pr import GATE, pr
from harness.errors import BadCall
from harness.words import plural

DEFAULT = "run"


class _DefaultCommand(click.Group):
    """A group in which `report FOLDER` is short for `report run FOLDER`."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in (*self.commands, *context.help_option_names):
            args = [DEFAULT, *args]
        return super().parse_args(context, args)


@click.group(cls=_DefaultCommand)
def report() -> None:
    """Write the report of a run, or that of a gate for a pull request.

    `zeroulp report RUN` is short for `zeroulp report run RUN`; a folder that is called like one of the commands below
    is meant by ./NAME. All read what is stored; no engine and no GPU take part.

    \b
    Examples:
      zeroulp report results/20260101T120000Z-abc123
      zeroulp report results/20260102T120000Z-def456 --against results/20260101T120000Z-abc123
      zeroulp report figures results/20260101T120000Z-abc123 --into docs/performance.md
      zeroulp report pr results/20260101T120000Z-abc123 results/20260102T120000Z-def456
    """


@report.command()
@click.argument("run", type=FILE)
@click.option("--against", type=FILE, metavar="OLD", help="An earlier run folder to set the figures beside.")
@json_option
def run(run: Path, against: Path | None, as_json: bool) -> int:
    """Write the report of a run folder again.

    That is report.md, report.html and the pictures. RUN is a folder of bench-allrows or of bench kernels. With
    --against, kernels get columns for the earlier times and points of the roofline an arrow from where they were. A
    selftest.json in the folder (`zeroulp selftest --json`) gives the score. The exit code is the run's verdict.

    \b
    Examples:
      zeroulp report run results/20260101T120000Z-abc123
      zeroulp report results/20260102T120000Z-def456 --against results/20260101T120000Z-abc123
    """
    if (run / GATE).is_file():
        raise BadCall(f"{run}: is the folder of a gate; its report: zeroulp report pr {shlex.quote(str(run))}")
    return write_report(run, as_json=as_json, against=against)


@report.command()
@click.argument("runs", metavar="RUN...", type=FILE, nargs=-1, required=True)
@click.option("--into", type=FILE, metavar="PAGE", help="Put them into this Markdown file, between its two marks.")
def figures(runs: tuple[Path, ...], into: Path | None) -> int:
    """Print the figures of run folders as Markdown, for a page of documentation.

    For each RUN its machine and command, targets met and missed, speeds, and where `bench kernels` took steps apart,
    their kernels. Folders of `zeroulp aa` give one table of the noise of all their rows. --into replaces what stands in
    PAGE between the lines <!-- figures: begin --> and <!-- figures: end -->; without both the page stays as it is.

    \b
    Examples:
      zeroulp report figures results/20260101T120000Z-abc123
      zeroulp report figures results/20260101T120000Z-abc123 results/20260101T120500Z-def456 --into docs/performance.md
    """
    from harness.store import write_atomically
    from reports.figures import figures as made
    from reports.figures import replaced

    text = made(runs)
    if into is None:
        click.echo(text, nl=False)
        return edge.PASS
    try:
        page = into.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadCall(f"{into}: cannot read ({error})") from None
    write_atomically(into, replaced(page, text, name=str(into)).encode())
    click.echo(f"{into}: figures of {plural(len(runs), 'run')}")
    return edge.PASS


report.add_command(pr)
report.add_command(post)


def write_report(folder: Path, *, as_json: bool, against: Path | None = None) -> int:
    """Write the report, say the verdict and where it is on the last line; returns the exit code."""
    import msgspec

    from harness.store import read_run
    from reference.spec.gguf_file import shown_path
    from reports.effects import main_effects
    from reports.profile_report import only_profiles
    from reports.run_report import write_report as write
    from reports.targets import held, lines

    verdict = write(folder, against=against)
    run = None if only_profiles(folder) else read_run(folder)
    place, targets = folder / "report.html", held(run) if run else ()
    if as_json:
        counts = {name: number for name, number in verdict.counts.items() if number}
        facts = {"exit_code": verdict.exit_code, "verdict": verdict.headline, "reasons": verdict.reasons}
        places = {"run": str(folder), "report": str(place)}
        wanted = {"targets": [item.facts() for item in targets]} if targets else {}
        effects = [msgspec.to_builtins(one) for one in main_effects(run)] if run else []
        click.echo(json.dumps({**facts, **wanted, "rows": counts, "effects": effects, **places}, indent=2))
        return verdict.exit_code
    for line in lines(targets):
        click.echo(line)
    for reason in verdict.reasons:
        click.echo(reason)
    click.echo(f"{verdict.headline}; report: {shown_path(place)}")
    return verdict.exit_code
