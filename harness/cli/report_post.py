"""`zeroulp report post`: the second of two workflows, the only one with a token that can write."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import edge
from harness.cli.options import FILE
from harness.cli.report_pr import GATE
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.forge import Forge
    from harness.gate.schema import GateResult

LARGEST = 32 << 20  # bytes of a gate.json that came from a stranger
LIMIT = 60_000  # bytes of the comment and of the check's summary; the forge takes 65,535
CHECK, TITLE = "zeroulp gate", 200  # name, and characters of the line beside it
NEEDED = ("GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The workflow run that made the gate, as the forge itself says; nothing of it is taken from the artifact."""

    owner: str  # of the repository that the branch is in
    branch: str
    sha: str
    id: int


@click.command()
@click.argument("gate", type=FILE)
def post(gate: Path) -> int:
    """Post the report of a gate to its pull request, from a GitHub workflow that is triggered by workflow_run.

    GATE is a folder with a gate.json, the artifact of the workflow that ran the gate without a token to write with. The
    report is rendered here, from data that is not trusted; pull request and commit are what the event of the workflow
    says. One comment is edited in place, and a check run says success, failure or, for "cannot tell", neutral.

    \b
    It reads GITHUB_TOKEN, GITHUB_REPOSITORY, GITHUB_EVENT_PATH and GITHUB_API_URL, as GitHub sets them:
      zeroulp report post artifact/

    Exit codes: 0 posted, or the commit is no longer the head of an open pull request; 2 not posted.
    """
    from reports.gate_verdict import exit_code, headline
    from reports.pr import MARKER, markdown
    from reports.text import logged

    forge, origin = _forge(), _origin(Path(os.environ.get("GITHUB_EVENT_PATH", "")))
    result = _read(gate / GATE)
    if result.head.git_sha != origin.sha:
        raise BadCall(f"{gate / GATE}: is not of commit {origin.sha}, which the workflow ran for")
    numbers = forge.pull_requests(origin.owner, origin.branch, origin.sha)
    if not numbers:
        click.echo(f"{origin.sha} is not the head of an open pull request; nothing to post")
        return edge.PASS
    body = markdown(result, LIMIT - 200) + f"\n[The run, with pr.html and gate.json]({_run_page(forge, origin)})\n"
    title = logged(headline(result), longest=TITLE)
    forge.check(CHECK, origin.sha, exit_code(result), title=title, summary=body)
    for number in numbers:
        click.echo(f"pull request {number}: comment {forge.comment(number, body, MARKER)}")
    return edge.PASS


def _forge() -> Forge:
    from harness.forge import Forge

    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise BadCall(f"{', '.join(missing)}: not set, expected what a GitHub workflow sets")
    repository = os.environ["GITHUB_REPOSITORY"]
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository, re.ASCII):
        raise BadCall(f"GITHUB_REPOSITORY: {repository!r} is not owner/name")
    api = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    return Forge(api=api, repository=repository, token=os.environ["GITHUB_TOKEN"])


def _origin(event: Path) -> Origin:
    """Of a workflow_run event. Raises BadCall for any other."""
    try:
        run: Any = json.loads(event.read_bytes())["workflow_run"]
        owner, branch = run["head_repository"]["owner"]["login"], run["head_branch"]
        found = Origin(owner=str(owner), branch=str(branch), sha=str(run["head_sha"]), id=int(run["id"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise BadCall(f"{event}: not the event of a workflow_run") from None
    if not re.fullmatch(r"[0-9a-f]{40}", found.sha):
        raise BadCall(f"{event}: {found.sha!r} is not a commit")
    return found


def _read(path: Path) -> GateResult:
    from harness.gate.schema import read_gate

    try:
        size = path.stat().st_size
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    if path.is_symlink() or not size <= LARGEST:
        raise BadCall(f"{path}: {size:,} bytes, expected a file of at most {LARGEST:,}")
    return read_gate(path)


def _run_page(forge: Forge, origin: Origin) -> str:
    server = os.environ.get("GITHUB_SERVER_URL") or "https://github.com"
    return f"{server}/{forge.repository}/actions/runs/{origin.id}"
