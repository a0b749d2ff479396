"""`zeroulp parity`: the installed suites."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option
from harness.errors import BadCall

STATES = ("passed", "failed", "error", "not applicable", "skipped")
USAGE_ERROR = 4  # of pytest: a bad option
ENDED = (0, 1, 5)  # of pytest: it came to its end, with all passed, some failed, or none chosen


@click.command()
@click.argument("suite", required=False)
@click.option("--device", type=click.Choice(["all", "host", "cuda"]), default="all", show_default=True)
@click.option("-k", "expression", metavar="EXPR", help="Only tests whose names match, as in pytest.")
@click.option(
    "--check", "wanted", metavar="ID", help="One check alone: of a test, or of a row of the run folder SUITE."
)
@click.option("-n", "processes", type=click.IntRange(min=1), help="Processes.  [default: one per core]")
@click.option("--junit-xml", type=FILE, help="Write the result as JUnit XML, too.")
@json_option
def parity(
    suite: str | None,
    device: str,
    expression: str | None,
    wanted: str | None,
    processes: int | None,
    junit_xml: Path | None,
    as_json: bool,
) -> int:
    """Run the suites: every claim as a check, by bits.

    SUITE is a folder or file of them, for example kernels or prefill/test_batched.py; without it all are run. They come
    with the package, so this works outside a checkout. "Not applicable" is counted apart: it is never a pass.

    SUITE may also be the folder of a run: then the checks that prove its rows are listed, each with its id; a row that
    is owed and has none that passed is no pass. --check ID makes one of them again, or runs one test, by the id that a
    failure is printed with.

    \b
    Examples:
      zeroulp parity
      zeroulp parity kernels --device host -k rms_norm
      zeroulp parity --check "suites/kernels/test_add.py::test_in_place[host-x]"
      zeroulp parity results/20260101T120000Z-abc123
      zeroulp parity results/20260101T120000Z-abc123 --check 3f2a51c0d9e8b7a6:graph:before
    """
    from harness.cli.row_checks import is_run, list_checks, one_check
    from harness.code_hash import package_folder

    if suite is not None and is_run(Path(suite)):
        run = Path(suite)
        return one_check(run, wanted, as_json=as_json) if wanted else list_checks(run, as_json=as_json)
    root = package_folder("suites")
    target = _target(root, suite) if wanted is None else _test(root, wanted, suite)
    if junit_xml is not None:
        junit_xml = junit_xml.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        lines = Path(scratch) / "lines"
        lines.touch()
        count = processes or edge.cores()
        options = ["--device", device, "--parity-lines", str(lines)]
        options += ["-n", str(count)] if count > 1 and wanted is None else []
        options += ["-k", expression] if expression else []
        options += [f"--junitxml={junit_xml}"] if junit_xml else []
        code = _pytest(root, str(target), options)
        tests = [json.loads(line) for line in lines.read_text().splitlines()]
    if code == USAGE_ERROR and wanted is not None:
        raise BadCall(
            f"check {wanted!r}: no test of the suites has this id; a failure prints it, and `pytest --co` lists"
        )
    if code == USAGE_ERROR:
        raise BadCall("the suites could not be started; the lines above say why")
    return _conclude(tests, as_json=as_json, ended=code in ENDED)


def _target(root: Path, suite: str | None) -> Path:
    target = (root / suite if suite else root).resolve()
    if not target.is_relative_to(root.resolve()) or not target.exists():
        known = sorted(path.parent.name for path in root.glob("*/test_*.py"))
        raise BadCall(f"suite {suite!r}: expected one of {', '.join(dict.fromkeys(known))}, or a file below them")
    return target


def _test(root: Path, wanted: str, suite: str | None) -> str:
    """What pytest is to run for the id of a test. Raises BadCall for the id of a row's check, which needs its run."""
    from harness.check_id import parse_check_id

    file, colons, test = wanted.partition("::")
    if not colons:
        parse_check_id(wanted)
        raise BadCall(f"check {wanted!r}: is one of a row, expected the folder of its run before --check")
    if suite is not None:
        raise BadCall(f"check {wanted!r}: is a test, expected no suite beside it")
    return f"{_target(root, file.removeprefix('suites/'))}::{test}"


def _pytest(root: Path, target: str, options: Sequence[str]) -> int:
    """Run pytest on the installed suites with settings of its own; its output goes to standard error."""
    command = [
        *(sys.executable, "-m", "pytest", target),
        *("-c", str(Path(__file__).with_name("parity.ini"))),
        *("--rootdir", str(root.parent), "--confcutdir", str(root.parent)),
        *("-p", "no:cacheprovider", "-p", "harness.cli.parity_plugin", "-q", "--no-header", "--tb=short"),
        *options,
    ]
    return subprocess.run(command, stdout=sys.stderr, check=False).returncode


def _conclude(tests: Sequence[dict[str, Any]], *, as_json: bool, ended: bool) -> int:
    """Print the table and the verdict; returns the exit code. Suites that did not come to their end are broken."""
    total = Counter(test["state"] for test in tests)
    code = _exit_code(total) if ended else edge.BROKEN
    if not ended:
        click.echo("the suites did not come to their end; the lines above may say why", err=True)
    failures = [test for test in tests if test["state"] in ("failed", "error")]
    if as_json:
        counts = {state: total[state] for state in STATES}
        unshown = [
            {"state": state, "reason": why, "checks": number}
            for (state, why), number in Counter(_unshown(tests)).items()
        ]
        result = {"exit_code": code, "checks": counts, "failures": failures, "unshown": unshown}
        click.echo(json.dumps(result, indent=2))
        return code
    _print_table(tests, total)
    for (state, why), number in sorted(Counter(_unshown(tests)).items()):
        click.echo(f"{number} x {state}: {why}")
    for test in failures:
        click.echo(f"{test['state']}: {test['test']}: {test['why']}")
    verdict = {edge.PASS: "PASS", edge.FAILED: "PARITY FAILURE", edge.BROKEN: "BROKEN", edge.CANNOT_TELL: "CANNOT TELL"}
    parts = [f"{total[state]} {state}" for state in STATES if total[state]]
    click.echo(f"{verdict[code]}: {', '.join(parts) or 'no check was run'}")
    return code


def _unshown(tests: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """What was not shown, and why."""
    return ((test["state"], test["why"]) for test in tests if test["state"] in ("not applicable", "skipped"))


def _exit_code(total: Counter[str]) -> int:
    if total["error"]:
        return edge.BROKEN
    if total["failed"]:
        return edge.FAILED
    return edge.PASS if total["passed"] else edge.CANNOT_TELL


def _print_table(tests: Sequence[dict[str, Any]], total: Counter[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    files: dict[str, Counter[str]] = {}
    for test in tests:
        files.setdefault(test["test"].partition("::")[0], Counter())[test["state"]] += 1
    table = Table("suite", box=None, pad_edge=False)
    for state in STATES:
        table.add_column(state, justify="right")
    for file, counts in sorted(files.items()):
        table.add_row(file.removeprefix("suites/"), *(str(counts[state] or "") for state in STATES))
    table.add_row("all", *(str(total[state]) for state in STATES))
    Console(highlight=False, soft_wrap=True).print(table)
