"""`zeroulp report`: one word for two commands, and files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import zeroulp
from harness.gate.schema import GateResult, encode
from reports.pr import LEAST, MARKER
from suites.reports.gates import HEADLINES, failing, gate, passing, same, unsure
from suites.reports.stored_runs import differing, ok, planned, write_run

Captured = pytest.CaptureFixture[str]
PLAN = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))


@pytest.fixture
def gate_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "gate"
    folder.mkdir()
    (folder / "gate.json").write_bytes(encode(failing()))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> tuple[str, str]:
    """Two run folders; in the second a bit differs."""
    rows = [ok(row) for row in PLAN]
    wrong = ok(PLAN[1], proof=(*rows[1].proof, differing("graph = direct", "after")))
    base, head = write_run(tmp_path / "base", rows), write_run(tmp_path / "head", [rows[0], wrong, *rows[2:]])
    return str(base), str(head)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_gate_s_folder_gets_comment_and_page(gate_folder: Path, capsys: Captured) -> None:
    assert zeroulp(["report", "pr", str(gate_folder)]) == 1
    assert files(gate_folder) == {"gate.json", "pr.md", "pr.html"}
    assert (gate_folder / "pr.md").read_text().startswith(MARKER)
    assert capsys.readouterr().out == f"{HEADLINES[1]}; report: {gate_folder / 'pr.html'}\n"


def test_the_report_of_a_run_sends_a_gate_to_its_own(gate_folder: Path, capsys: Captured) -> None:
    assert zeroulp(["report", str(gate_folder)]) == 2
    assert capsys.readouterr().err == (
        f"zeroulp: {gate_folder}: is the folder of a gate; its report: zeroulp report pr {gate_folder}\n"
    )
    assert files(gate_folder) == {"gate.json"}


@pytest.mark.parametrize(
    ("result", "code"), [(passing(), 0), (failing(), 1), (gate(*same(1), exit_code=2), 2), (unsure(), 3)]
)
def test_the_exit_code_is_the_verdict(tmp_path: Path, result: GateResult, code: int) -> None:
    (tmp_path / "gate.json").write_bytes(encode(result))
    assert zeroulp(["report", "pr", str(tmp_path)]) == code


def test_the_exit_code_is_what_the_rows_ask_for(tmp_path: Path) -> None:
    (tmp_path / "gate.json").write_bytes(encode(gate(*failing().rows, exit_code=0)))
    assert zeroulp(["report", "pr", str(tmp_path)]) == 1


def test_two_runs_are_compared_and_written_beside_head(runs: tuple[str, str], capsys: Captured) -> None:
    assert zeroulp(["report", "pr", *runs, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["exit_code"] == 1
    assert found["rows"]["wrong"] == 1
    assert Path(found["markdown"]).read_text().startswith(MARKER)
    assert Path(found["page"]).parent == Path(runs[1])
    assert "pr.md" not in files(Path(runs[0]))


def test_a_stored_selftest_is_shown(runs: tuple[str, str], gate_folder: Path, capsys: Captured) -> None:
    stored = (
        '{"faults": [{"name": "a", "caught": true, "by": "t"}, {"name": "clock drift", "caught": false, "by": ""}]}'
    )
    words = "the suites catch 1 of 2 planted faults; missed: clock drift"
    Path(runs[1], "selftest.json").write_text(stored)
    assert zeroulp(["report", "pr", *runs]) == 1
    assert words in Path(runs[1], "pr.md").read_text()
    (gate_folder / "gate.json").write_bytes(encode(unsure()))  # a gate without a score of its own
    (gate_folder / "selftest.json").write_text(stored)
    assert zeroulp(["report", "pr", str(gate_folder)]) == 3
    assert words in (gate_folder / "pr.html").read_text()
    Path(runs[1], "selftest.json").write_text('{"faults": 3}')
    assert zeroulp(["report", "pr", *runs]) == 2
    assert "selftest.json: not what" in capsys.readouterr().err


def test_out_and_limit(runs: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert zeroulp(["report", "pr", *runs, "--out", str(out), "--limit", "4000"]) == 1
    assert files(out) == {"pr.md", "pr.html"}
    assert len((out / "pr.md").read_bytes()) <= 4000


def test_the_same_result_gives_the_same_bytes(gate_folder: Path) -> None:
    made = []
    for _ in range(2):
        zeroulp(["report", "pr", str(gate_folder)])
        made.append([(gate_folder / name).read_bytes() for name in ("pr.md", "pr.html")])
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Missing argument"),
        (("{gate}", "--limit", str(LEAST - 1)), f"expected at least {LEAST}"),
        (("{base}",), "is one run folder; give two"),
        (("{base}", "{gate}"), "not a run folder"),
        (("{tmp}/nothing",), "cannot read"),
        (("{gate}", "--out", "{gate}/gate.json/x"), "cannot write to it"),
        (("{base}", "{head}", "{gate}"), "unexpected extra argument"),
    ],
)
def test_a_bad_call_is_one_line_and_writes_nothing(
    gate_folder: Path, runs: tuple[str, str], tmp_path: Path, capsys: Captured, arguments: tuple[str, ...], words: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    names = {"gate": gate_folder, "base": runs[0], "head": runs[1], "tmp": tmp_path}
    assert zeroulp(["report", "pr", *(argument.format(**names) for argument in arguments)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_gate_json_of_another_kind_is_refused(gate_folder: Path, capsys: Captured) -> None:
    (gate_folder / "gate.json").write_text('{"schema": 1, "rows": "many"}')
    assert zeroulp(["report", "pr", str(gate_folder)]) == 2
    assert "not a gate.json" in capsys.readouterr().err


@pytest.mark.parametrize("headline", ["::error::x", "\n::error::x", "a ##[add-mask]x", "\u202e::x"])
def test_what_is_printed_holds_no_command_to_a_runner(tmp_path: Path, capsys: Captured, headline: str) -> None:
    (tmp_path / "gate.json").write_bytes(encode(gate(*same(1), headline=f"PASS: {headline}")))
    assert zeroulp(["report", "pr", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert not out.startswith("::")
    assert "##[" not in out


def test_a_run_needs_no_second_word(runs: tuple[str, str], capsys: Captured) -> None:
    assert zeroulp(["report", runs[0]]) == zeroulp(["report", "run", runs[0]]) == 0
    assert zeroulp(["report", "--against", runs[0], runs[1]]) == 1
    assert capsys.readouterr().out.count("report.html") == 3
    assert "report.html" in files(Path(runs[0]))


def test_a_folder_called_like_a_command_is_meant_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "pr", [ok(row) for row in PLAN])
    assert zeroulp(["report", "./pr"]) == 0
    assert zeroulp(["report", "pr"]) == 2
    assert "Missing argument" in capsys.readouterr().err


def test_help_names_all_three(capsys: Captured) -> None:
    assert zeroulp(["report", "--help"]) == 0
    text = capsys.readouterr().out
    for words in ("zeroulp report RUN", "report run RUN", "zeroulp report pr", "post "):
        assert words in text
    assert zeroulp(["report"]) == 2
    assert "Missing argument 'RUN'" in capsys.readouterr().err
