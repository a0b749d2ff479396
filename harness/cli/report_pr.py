"""`zeroulp report pr`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.options import FILE, json_option
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.gate.schema import GateResult

GATE = "gate.json"
MARKDOWN, PAGE = "pr.md", "pr.html"


@click.command()
@click.argument("base", type=FILE, metavar="BASE|GATE")
@click.argument("head", type=FILE, metavar="[HEAD]", required=False)
@click.option("--out", type=FILE, help="The folder to write to.  [default: HEAD, or the gate's folder]")
@click.option("--limit", type=int, default=60_000, show_default=True, help="Bytes that pr.md may have at most.")
@json_option
def pr(base: Path, head: Path | None, out: Path | None, limit: int, as_json: bool) -> int:
    """Write the report for a pull request: pr.md for a comment, pr.html for reading.

    With one folder it is that of a gate, and its gate.json is shown. With two they are finished runs, judged as
    `zeroulp gate` does: by parity and counts; times of two separate runs are not paired, are labelled so and cannot be
    told. A selftest.json in the folder of GATE or HEAD (`zeroulp selftest --json`) gives the score.

    pr.md keeps to its limit: rows that passed are left out first, then what is folded, moved and failed rows last, and
    the report says how many. pr.html has everything.

    \b
    Examples:
      zeroulp report pr results/gate-20260102T120000Z-abc123
      zeroulp report pr results/20260101T120000Z-abc123 results/20260102T120000Z-def456 --out pr

    Exit codes: 0 pass, 1 regression or parity failure, 2 broken or a bad call, 3 cannot tell.
    """
    from harness.store import require_folder, write_atomically
    from reports.gate_verdict import exit_code
    from reports.pr import markdown, page

    folder = out or head or base
    result = read_result(base, head)
    texts = {MARKDOWN: markdown(result, limit), PAGE: page(result)}
    require_folder(folder, "folder")
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    _say(result, folder, as_json=as_json)
    return exit_code(result)


def read_result(base: Path, head: Path | None) -> GateResult:
    """A gate's result, or what two finished runs amount to; with the score of a selftest.json. Raises BadCall."""
    from msgspec.structs import replace

    from harness.gate.runs import judge_runs
    from harness.gate.schema import read_gate
    from harness.store import PLAN
    from reports.selftest import stored_score

    if head is not None:
        return replace(judge_runs(base, head), selftest=stored_score(head))
    if not (base / GATE).exists() and (base / PLAN).exists():
        raise BadCall(f"{base}: is one run folder; give two, BASE and HEAD, or the folder of a gate")
    result = read_gate(base / GATE)
    return replace(result, selftest=stored_score(base)) if result.selftest is None else result


def _say(result: GateResult, folder: Path, *, as_json: bool) -> None:
    from reference.spec.gguf_file import shown_path
    from reports.gate_verdict import exit_code, headline
    from reports.text import logged

    places = {"markdown": folder / MARKDOWN, "page": folder / PAGE}
    if as_json:
        facts = {"exit_code": exit_code(result), "verdict": headline(result)}
        counts = Counter(row.verdict for row in result.rows)
        files = {name: str(place) for name, place in places.items()}
        click.echo(json.dumps({**facts, "rows": counts, **files}, indent=2))
    else:
        click.echo(f"{logged(headline(result))}; report: {shown_path(places['page'])}")
