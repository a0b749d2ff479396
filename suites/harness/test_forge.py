"""Posting a report: one comment, edited in place; nobody else's is touched, and the artifact decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.forge import Forge
from harness.gate.schema import GateResult, encode
from reports.pr import MARKER
from suites.harness.fake_forge import BOT, REPOSITORY, SHA, TOKEN, FakeForge, fake_forge
from suites.reports.gates import failing, gate, passing, same, unsure
from suites.reports.hostile import hostile_gate
from suites.reports.page import without_code

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def server() -> Iterator[FakeForge]:
    with fake_forge() as forge:
        yield forge


def client(server: FakeForge, waits: list[float] | None = None) -> Forge:
    sleep = (waits if waits is not None else []).append
    return Forge(api=server.url, repository=REPOSITORY, token=TOKEN, sleep=sleep)


def of_commit(result: GateResult, sha: str = SHA) -> GateResult:
    return msgspec.structs.replace(result, head=msgspec.structs.replace(result.head, git_sha=sha))


@pytest.fixture
def workflow(server: FakeForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment of a workflow_run for a pull request from a fork; returns the folder of the artifact."""
    origin = {"head_sha": SHA, "head_branch": "feature", "id": 77, "head_repository": {"owner": {"login": "stranger"}}}
    (tmp_path / "event.json").write_text(json.dumps({"workflow_run": origin}))
    variables = {
        "GITHUB_TOKEN": TOKEN,
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_API_URL": server.url,
        "GITHUB_SERVER_URL": "https://forge.example",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "artifact"
    folder.mkdir()
    return folder


def post(folder: Path, result: GateResult) -> int:
    (folder / "gate.json").write_bytes(encode(result))
    return zeroulp(["report", "post", str(folder)])


def test_the_first_report_is_a_new_comment_and_the_next_edits_it(server: FakeForge, workflow: Path) -> None:
    server.pull(5)
    server.said("please rebase", login="reviewer")
    assert post(workflow, of_commit(passing())) == 0
    assert post(workflow, of_commit(failing())) == 0
    assert len(server.comments) == 2
    assert server.comments[0]["body"] == "please rebase"
    body = server.comments[1]["body"]
    assert body.startswith(f"{MARKER}\n\n## ✗ REGRESSION")
    assert "https://forge.example/owner/name/actions/runs/77" in body
    assert server.headers[-1]["Authorization"] == f"Bearer {TOKEN}"


def test_the_same_report_again_edits_nothing(server: FakeForge, workflow: Path, capsys: Captured) -> None:
    server.pull(5)
    assert [post(workflow, of_commit(passing())) for _ in range(2)] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "pull request 5: comment created",
        "pull request 5: comment unchanged",
    ]
    assert not any(call.startswith("PATCH") for call in server.calls)


def test_a_marker_in_a_comment_of_another_is_not_ours(server: FakeForge, workflow: Path) -> None:
    server.pull(5)
    server.said(f"{MARKER} mine now", login="stranger")
    server.said(f"I quote: {MARKER}")
    assert post(workflow, of_commit(passing())) == 0
    assert [comment["body"][:30] for comment in server.comments[:2]] == [
        f"{MARKER} mine now"[:30],
        f"I quote: {MARKER}"[:30],
    ]
    assert len(server.comments) == 3


def test_the_comment_is_found_behind_hundreds(server: FakeForge) -> None:
    for _ in range(250):
        server.said("a word", login="reviewer")
    server.said(f"{MARKER} old")
    assert client(server).comment(5, f"{MARKER} new", MARKER) == "edited"
    assert server.comments[250]["body"] == f"{MARKER} new"
    assert len(server.comments) == 251


@pytest.mark.parametrize(
    ("result", "conclusion"),
    [
        (passing(), "success"),
        (failing(), "failure"),
        (gate(), "neutral"),
        (unsure(), "neutral"),
        (gate(*same(1), exit_code=2), "failure"),
        (gate(*failing().rows, exit_code=0), "failure"),
    ],
)
def test_the_check_says_the_verdict_and_cannot_tell_is_neutral(
    server: FakeForge, workflow: Path, result: GateResult, conclusion: str
) -> None:
    server.pull(5)
    assert post(workflow, of_commit(result)) == 0
    (check,) = server.checks
    assert (check["conclusion"], check["head_sha"], check["status"]) == (conclusion, SHA, "completed")
    assert len(check["output"]["summary"].encode()) < 65_535


def test_a_gate_of_another_commit_is_not_posted(server: FakeForge, workflow: Path, capsys: Captured) -> None:
    server.pull(5)
    assert post(workflow, of_commit(passing(), "0" * 40)) == 2
    assert f"is not of commit {SHA}" in capsys.readouterr().err
    assert server.comments == server.checks == []


@pytest.mark.parametrize("change", [{"sha": "1" * 40}, {"branch": "other"}, {"owner": "someone"}])
def test_a_pull_request_that_moved_on_gets_nothing(
    server: FakeForge, workflow: Path, capsys: Captured, change: dict[str, str]
) -> None:
    server.pull(5, **change)
    assert post(workflow, of_commit(passing())) == 0
    assert "not the head of an open pull request" in capsys.readouterr().out
    assert server.comments == server.checks == []


def test_hostile_texts_reach_the_forge_escaped(server: FakeForge, workflow: Path, capsys: Captured) -> None:
    server.pull(5)
    assert post(workflow, of_commit(hostile_gate())) == 0
    body = without_code(server.comments[0]["body"])
    assert "<script" not in body
    assert "@someone" not in body
    assert "\n" not in server.checks[0]["output"]["title"]
    for line in capsys.readouterr().out.splitlines():
        assert line.startswith("pull request 5: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "not a gate.json"),
        ("", "not a gate.json"),
        ("[" * 5000, "not a gate.json"),
        (None, "cannot read"),
    ],
)
def test_an_artifact_that_is_no_gate_is_refused(
    server: FakeForge, workflow: Path, capsys: Captured, content: str | None, words: str
) -> None:
    if content is not None:
        (workflow / "gate.json").write_text(content)
    assert zeroulp(["report", "post", str(workflow)]) == 2
    assert words in capsys.readouterr().err
    assert server.calls == []


def test_a_gate_json_that_is_too_large_or_a_link_is_refused(
    server: FakeForge, workflow: Path, capsys: Captured
) -> None:
    with (workflow / "gate.json").open("wb") as file:
        file.truncate((32 << 20) + 1)
    assert zeroulp(["report", "post", str(workflow)]) == 2
    (workflow / "gate.json").unlink()
    (workflow / "gate.json").symlink_to(workflow.parent / "event.json")
    assert zeroulp(["report", "post", str(workflow)]) == 2
    assert capsys.readouterr().err.count("expected a file of at most") == 2


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "GITHUB_REPOSITORY", "GITHUB_EVENT_PATH"])
def test_what_a_workflow_sets_is_needed(
    server: FakeForge, workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, name: str
) -> None:
    monkeypatch.delenv(name)
    assert post(workflow, of_commit(passing())) == 2
    assert name in capsys.readouterr().err
    assert server.calls == []


@pytest.mark.parametrize(
    "event",
    [{}, [], {"pull_request": {}}, {"workflow_run": {"head_sha": SHA}}],
)
def test_only_a_workflow_run_says_where_to_post(
    server: FakeForge, workflow: Path, capsys: Captured, tmp_path: Path, event: Any
) -> None:
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert post(workflow, of_commit(passing())) == 2
    assert "not the event of a workflow_run" in capsys.readouterr().err
    assert server.calls == []


def test_what_the_event_calls_a_commit_is_one(workflow: Path, capsys: Captured, tmp_path: Path) -> None:
    event = json.loads((tmp_path / "event.json").read_text())
    event["workflow_run"]["head_sha"] = "../../issues"
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert post(workflow, of_commit(passing())) == 2
    assert "'../../issues' is not a commit" in capsys.readouterr().err


def test_the_token_is_never_printed(server: FakeForge, workflow: Path, capsys: Captured) -> None:
    server.failures = [403]
    assert post(workflow, of_commit(passing())) == 2
    out, err = capsys.readouterr()
    assert "the server answers 403 no, thank you" in err
    assert TOKEN not in out + err


def test_a_busy_server_is_asked_again_with_growing_pauses(server: FakeForge) -> None:
    server.failures, waits = [503, 429, 502], list[float]()
    server.pull(5)
    assert client(server, waits).pull_requests("stranger", "feature", SHA) == [5]
    assert waits == [2.0, 4.0, 8.0]


def test_a_server_that_stays_busy_is_given_up(server: FakeForge) -> None:
    server.failures = [503] * 10
    with pytest.raises(BadCall, match="503 no, thank you"):
        client(server).pull_requests("stranger", "feature", SHA)
    assert len(server.calls) == 4


def test_a_comment_is_not_posted_twice_after_a_doubtful_answer(server: FakeForge) -> None:
    """The server may have taken it before it failed."""
    server.failures = [500]
    with pytest.raises(BadCall, match="POST"):
        client(server)._call("POST", "/issues/5/comments", {"body": "x"})
    assert server.calls == [f"POST /repos/{REPOSITORY}/issues/5/comments"]


def test_a_redirect_does_not_take_the_token_along(server: FakeForge) -> None:
    server.failures = [302]
    with pytest.raises(BadCall, match="302"):
        client(server).pull_requests("stranger", "feature", SHA)
    assert len(server.calls) == 1


def test_no_server_at_all() -> None:
    forge = Forge(api="http://127.0.0.1:9", repository=REPOSITORY, token=TOKEN, sleep=lambda _: None)
    with pytest.raises(BadCall, match=r"no answer from http://127\.0\.0\.1:9"):
        forge.pull_requests("stranger", "feature", SHA)


def test_a_branch_name_is_part_of_the_query_and_of_nothing_else(server: FakeForge) -> None:
    branch = "a&state=closed#/../x y"
    server.pull(5, branch=branch)
    assert client(server).pull_requests("stranger", branch, SHA) == [5]
    assert server.calls == [f"GET /repos/{REPOSITORY}/pulls"]


def test_the_comment_is_that_of_the_workflow_s_own_account() -> None:
    assert Forge(api="", repository="", token="").author == BOT
