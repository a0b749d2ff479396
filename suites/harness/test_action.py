"""The GitHub action and its workflows: what they may do, what they call, and that nobody's text becomes a command."""

from __future__ import annotations

import ast
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

import harness
from harness.cli.main import group
from suites.status import not_applicable

ROOT = Path(harness.__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTION = ROOT / "action.yml"
SCRIPT = ROOT / "scripts" / "action.sh"
HOSTILE = "$(touch planted) `touch planted`; touch planted # ' \" \\ ${{ secrets.X }}"

GIVEN = ("BASE", "HEAD", "MATRIX", "WHERE", "ACCEPT", "POLICY", "NOISE")  # inputs of a gate that may be empty

# Stands for every program that the script starts: notes its arguments, writes what a gate writes, ends as it is told.
FAKE = """#!/usr/bin/env python3
import os, sys, pathlib
here = pathlib.Path(os.environ["NOTES"])
with here.open("a") as notes:
    notes.write(repr([pathlib.Path(sys.argv[0]).name, *sys.argv[1:]]) + "\\n")
if sys.argv[1:2] == ["gate"]:
    folder = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    folder.mkdir(exist_ok=True)
    (folder / "pr.md").write_text("the report\\n")
    sys.exit(int(os.environ["GATE_CODE"]))
if sys.argv[1:3] == ["report", "pr"]:
    sys.exit(int(os.environ["REPORT_CODE"]))
"""


@pytest.fixture(autouse=True)
def _checkout() -> None:
    if not ACTION.is_file():
        not_applicable("the action is a part of the checkout, not of the package")


def read(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    found = read(path)
    jobs = [found["runs"]] if "runs" in found else found["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def workflow(name: str) -> dict[Any, Any]:
    return read(ROOT / ".github" / "workflows" / name)


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS], ids=lambda path: str(path.name))
def test_no_expression_is_part_of_a_script(path: Path) -> None:
    """An expression in `run` is pasted into the shell's text before the shell reads it."""
    assert [step["run"] for step in steps(path) if "${{" in step.get("run", "")] == []


@pytest.mark.parametrize("path", [ACTION, *WORKFLOWS], ids=lambda path: str(path.name))
def test_actions_of_others_are_pinned(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert all(re.fullmatch(r"\./|actions/[a-z-]+@(v\d+|[0-9a-f]{40})", name) for name in used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: str(path.name))
def test_every_workflow_says_what_it_may_do(path: Path) -> None:
    permissions = read(path)["permissions"]
    allowed = {"contents": "read"}
    if path.name == "gate-comment.yml":
        allowed = {"contents": "read", "actions": "read", "pull-requests": "write", "checks": "write"}
    assert permissions == allowed
    assert not any("permissions" in job for job in read(path)["jobs"].values())
    assert "pull_request_target" not in path.read_text()


def test_a_pull_request_runs_with_nothing_to_steal() -> None:
    found = workflow("gate.yml")
    assert list(found[True]) == ["pull_request"]  # YAML reads the word `on` as true
    assert "secrets." not in (ROOT / ".github" / "workflows" / "gate.yml").read_text()
    checkout, gate = found["jobs"]["gate"]["steps"]
    assert checkout["with"]["persist-credentials"] is False
    assert checkout["with"]["fetch-depth"] == 0  # the merge base must be there
    assert gate["uses"] == "./"
    assert "token" not in gate["with"]


def test_the_writing_workflow_runs_the_default_branch_alone() -> None:
    found = workflow("gate-comment.yml")
    assert found[True] == {"workflow_run": {"workflows": [workflow("gate.yml")["name"]], "types": ["completed"]}}
    checkout, post = found["jobs"]["post"]["steps"]
    assert "ref" not in checkout["with"]
    assert post["with"] == {"task": "post", "token": "${{ github.token }}"}


def test_workflows_give_only_inputs_that_the_action_has() -> None:
    inputs = read(ACTION)["inputs"]
    assert set(inputs) >= {"base", "head", "matrix", "where", "device", "accept", "policy", "noise", "extras"}
    (gate,) = (step for step in steps(ACTION) if step.get("id") == "gate")
    assert gate["env"] == {name: f"${{{{ inputs.{name.lower()} }}}}" for name in (*GIVEN, "DEVICE")}
    used = [step["with"] for path in WORKFLOWS for step in steps(path) if step.get("uses") == "./"]
    assert len(used) == 2
    assert all(set(given) <= set(inputs) for given in used)
    assert all("description" in one for one in inputs.values())


def test_the_script_calls_commands_and_options_that_exist() -> None:
    text = SCRIPT.read_text()
    called = re.findall(r'"\$tools/zeroulp" ((?:[a-z]+ ?)+)', text)
    assert sorted(words.strip() for words in called) == ["gate", "report post", "report pr"]
    for words in called:
        command: click.Command = group
        for word in words.split():
            assert isinstance(command, click.Group)
            command = command.commands[word]
        if words.strip() == "gate":
            known = {name for option in command.params for name in option.opts}
            assert set(re.findall(r"--[a-z]+", text)) - {"--quiet"} <= known


@pytest.fixture
def runner(tmp_path: Path) -> dict[str, str]:
    """What a runner gives to a step, with a stand-in for the installed program."""
    tools = tmp_path / "zeroulp-tools" / "bin"
    tools.mkdir(parents=True)
    for name in ("zeroulp", "pip", "python"):
        (tools / name).write_text(FAKE)
        (tools / name).chmod(0o755)
    return {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_ACTION_PATH": "/the/action",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "NOTES": str(tmp_path / "notes"),
        "GATE_CODE": "0",
        "REPORT_CODE": "0",
        **dict.fromkeys((*GIVEN, "EXTRAS"), ""),
        "DEVICE": "auto",
    }


def started(runner: dict[str, str], step: str, **variables: str) -> subprocess.CompletedProcess[str]:
    call, folder = [str(SCRIPT), step], runner["RUNNER_TEMP"]
    environment = {**runner, **variables}
    return subprocess.run(call, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def calls(runner: dict[str, str]) -> list[list[str]]:
    notes = Path(runner["NOTES"])
    return [words_of(line) for line in notes.read_text().splitlines()] if notes.exists() else []


@pytest.mark.parametrize(
    ("gate", "report", "shown", "ends"),
    [
        (0, 0, 0, 0),
        (1, 1, 1, 1),
        (2, 2, 2, 2),
        (3, 3, 3, 0),
        (0, 1, 1, 1),
        (0, 3, 3, 0),
        (1, 0, 1, 1),
        (130, 2, 130, 130),
    ],
)
def test_a_gate_that_cannot_tell_is_no_failure_and_all_else_is(
    runner: dict[str, str], gate: int, report: int, shown: int, ends: int
) -> None:
    done = started(runner, "gate", BASE="a", HEAD="b", GATE_CODE=str(gate), REPORT_CODE=str(report))
    assert done.returncode == ends, done.stderr
    results = Path(runner["RUNNER_TEMP"], "zeroulp-gate")
    assert Path(runner["GITHUB_OUTPUT"]).read_text() == f"exit-code={shown}\nfolder={results}\n"
    assert Path(runner["GITHUB_STEP_SUMMARY"]).read_text() == "the report\n"
    assert ("cannot tell" in done.stdout) == (shown == 3)


def test_inputs_arrive_as_arguments_whatever_they_hold(runner: dict[str, str]) -> None:
    given = {name: f"{name} {HOSTILE}" for name in GIVEN}
    assert started(runner, "gate", **given, DEVICE=HOSTILE).returncode == 0
    gate = calls(runner)[0]
    results = str(Path(runner["RUNNER_TEMP"], "zeroulp-gate"))
    files = [word for name in GIVEN[2:] for word in (f"--{name.lower()}", given[name])]
    options = ["--device", HOSTILE, "--out", results, *files]
    assert gate == ["zeroulp", "gate", *options, "--", given["BASE"], given["HEAD"]]
    assert list(Path(runner["RUNNER_TEMP"]).rglob("planted")) == []


@pytest.mark.parametrize(("base", "head"), [("", "b"), ("a", ""), ("--out=/", "b"), ("a", "-x")])
def test_what_is_no_arm_is_refused(runner: dict[str, str], base: str, head: str) -> None:
    done = started(runner, "gate", BASE=base, HEAD=head)
    assert done.returncode == 2
    assert done.stdout.startswith("zeroulp action: base and head: ")
    assert calls(runner) == []


def test_two_commits_are_compared_from_their_merge_base(runner: dict[str, str]) -> None:
    folder = runner["RUNNER_TEMP"]

    def git(*words: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "first")
    fork = git("rev-parse", "HEAD")
    git("checkout", "-q", "-b", "feature")
    git("commit", "-q", "--allow-empty", "-m", "work")
    git("checkout", "-q", "main")
    git("commit", "-q", "--allow-empty", "-m", "others' work")
    assert started(runner, "gate", BASE="main", HEAD="feature").returncode == 0
    assert calls(runner)[0][-2:] == [fork, "feature"]


@pytest.mark.parametrize(("extras", "asked"), [("", "/the/action"), ("cuda13", "/the/action[cuda13]")])
def test_install_takes_extras(runner: dict[str, str], extras: str, asked: str) -> None:
    assert started(runner, "install", EXTRAS=extras).returncode == 0
    assert calls(runner)[-1] == ["pip", "install", "--quiet", "uv", asked]


@pytest.mark.parametrize("extras", ["x] evil", "--index-url=http://e.com", "a b", HOSTILE])
def test_install_takes_nothing_else(runner: dict[str, str], extras: str) -> None:
    assert started(runner, "install", EXTRAS=extras).returncode == 2
    assert calls(runner) == []


def test_post_hands_over_the_artifact(runner: dict[str, str]) -> None:
    assert started(runner, "post").returncode == 0
    assert calls(runner) == [["zeroulp", "report", "post", str(Path(runner["RUNNER_TEMP"], "zeroulp-gate"))]]
    assert started(runner, "").returncode == 2


def words_of(line: str) -> list[str]:
    return [str(word) for word in ast.literal_eval(line)]
