"""The checks of a run's rows, for `zeroulp parity`: listed with their ids, or one made again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.errors import BadCall
from harness.words import plural

if TYPE_CHECKING:
    from harness.schema import Check

_CODES = {"passed": edge.PASS, "failed": edge.FAILED, "not_applicable": edge.CANNOT_TELL}


def is_run(folder: Path) -> bool:
    """Whether this is the folder of a run, and not of a suite."""
    from harness.store import PLAN

    return (folder / PLAN).is_file()


def list_checks(folder: Path, *, as_json: bool) -> int:
    """Every stored check with its id. Exit code 1 if one failed, 3 if an owed row has none that passed, else 0."""
    from harness.check_id import check_id
    from harness.store import read_run
    from reports.verdict import failed

    run = read_run(folder)
    found = [(check_id(row.key, check), check) for row in run.rows for check in row.proof]
    states = [check.status for _, check in found]
    owed = [row for row in run.rows if row.status != "not_applicable"]
    unshown = [row.key for row in owed if not any(check.status == "passed" for check in row.proof)]
    unshown += [row.key for row in run.missing]
    code = edge.CANNOT_TELL if unshown or "passed" not in states else edge.PASS
    if any(failed(check) for _, check in found):
        code = edge.FAILED
    if as_json:
        checks = [_plain(name, check) for name, check in found]
        click.echo(json.dumps({"exit_code": code, "unshown": unshown, "checks": checks}, indent=2))
        return code
    for name, check in found:
        click.echo(f"{name:<34} {_line(check)}")
    counts = ", ".join(f"{states.count(state)} {state.replace('_', ' ')}" for state in dict.fromkeys(states))
    again = f"{counts}; one again: zeroulp parity {folder} --check ID"
    click.echo(again if found else "CANNOT TELL: no check was made; `zeroulp report` says why the rows have none")
    if found and unshown:
        words = plural(len(unshown), "row has", "rows have")
        click.echo(f"CANNOT TELL: {words} no check that passed, such as {unshown[0]}")
    return code


def one_check(folder: Path, wanted: str, *, as_json: bool) -> int:
    """Make one check again, with the code as it is now; exit code 0 passed, 1 failed, 3 not applicable."""
    from harness.check_id import check_id, parse_check_id
    from harness.one_check import run_check
    from harness.progress import row_name
    from harness.store import read_run

    if "::" in wanted:
        raise BadCall(f"check {wanted!r}: is a test, expected no run folder beside it")
    made = run_check(read_run(folder).plan, parse_check_id(wanted), cache=edge.cache_folder())
    row, check = made.row, made.check
    name = check_id(row.key, check)
    if as_json:
        click.echo(
            json.dumps({"exit_code": _CODES[check.status], **_plain(name, check), "where": made.where}, indent=2)
        )
        return _CODES[check.status]
    click.echo(f"{row_name(row)}, {row.device}")
    for side in (check.left, check.right):
        if side:
            click.echo(f"  {side}")
    click.echo(f"{name}: {_line(check)}")
    if check.status == "failed":
        click.echo(f"the op at which they part: {made.where}")
    return _CODES[check.status]


def _plain(name: str, check: Check) -> dict[str, object]:
    import msgspec

    return {"id": name, **msgspec.to_builtins(check)}


def _line(check: Check) -> str:
    parts = [f"{check.status.replace('_', ' ')}: {check.name} ({check.when})"]
    parts += [f"{check.values:,} values compared, {check.differing:,} differ"] if check.values else []
    return ", ".join((*parts, *filter(None, (check.reason, check.first_difference))))
