"""The report of a gate: verdict first, what moved in the open, and no failure that it could hide."""

from __future__ import annotations

import msgspec
import pytest

from harness.gate.schema import GateResult, ParityBlock, SelftestScore, Verdict
from reports.gate_verdict import MOVED, exit_code, headline
from reports.pr import MARKER, document, markdown, page
from suites.reports import gates
from suites.reports.gates import WRONG, failing, gate, passing, same, unsure, verdict
from suites.reports.page import read_page

FOLDED = "<details>"


def outside_details(text: str) -> str:
    """What a reader of the comment sees without opening anything."""
    parts = text.split(FOLDED)
    return parts[0] + "".join(part.partition("</details>")[2] for part in parts[1:])


def titles(text: str) -> list[str]:
    return [line.removeprefix("### ") for line in text.splitlines() if line.startswith("### ")]


@pytest.mark.parametrize(
    ("result", "first"),
    [
        (passing(), "## ✓ PASS: nothing moved"),
        (failing(), "## ✗ REGRESSION: see below"),
        (unsure(), "## ? CANNOT TELL: see below"),
        (gate(verdict("missing"), exit_code=2), "## ⚠ BROKEN: see below"),
    ],
)
def test_the_verdict_comes_first_behind_a_hidden_marker(result: GateResult, first: str) -> None:
    lines = markdown(result).splitlines()
    assert lines[0] == MARKER
    assert lines[2] == first
    assert first.removeprefix("## ") in read_page(page(result)).text


@pytest.mark.parametrize("name", gates.HEADLINES)
def test_every_verdict_has_an_icon_and_a_word(name: int) -> None:
    found = headline(gate(verdict("same"), exit_code=name))
    assert found.split(":")[0] in ("PASS", "REGRESSION", "BROKEN", "CANNOT TELL")


def test_moved_rows_are_open_and_all_others_folded() -> None:
    text = markdown(failing())
    seen = outside_details(text)
    for shown in ("✗ slower", "✗ wrong", "▲ faster", "+4.4 % (+3.5 to +5.3)", "confirmed on the same GPU"):
        assert shown in seen
    for hidden in ("✓ same", "? cannot tell", "driver 580.159"):
        assert hidden not in seen
        assert hidden in text
    assert "<details><summary>34 verdicts: the same</summary>" in text


@pytest.mark.parametrize("moved", MOVED)
def test_no_verdict_that_moved_is_folded(moved: Verdict) -> None:
    seen = outside_details(markdown(gate(*same(3), verdict(moved, 77, label="the row in question"))))
    assert "the row in question" in seen
    assert moved in seen


def test_parity_that_failed_stands_above_the_rows() -> None:
    assert titles(markdown(failing()))[:2] == ["Parity", "Rows that moved"]
    assert titles(markdown(passing()))[:2] == ["Rows that moved", "Parity"]
    assert titles(markdown(failing()))[-1] == titles(markdown(passing()))[-1] == "Environment and method"


def test_the_first_divergence_and_one_command_for_it() -> None:
    seen = outside_details(markdown(failing()))
    assert "0.5 against 0.50000006, 1 ulp" in seen
    assert "```\nzeroulp diverge main feature --row 0000000000000000\n```" in seen
    checks = read_page(page(failing())).table("check", "differing")
    assert checks[0] == ["✗ graph = direct", "95", "1", "0", "9,600,000", "41"]


def test_a_moved_row_brings_the_command_that_judges_it_alone() -> None:
    assert "zeroulp gate main feature --where 'prompt == 181'" in outside_details(markdown(failing()))


def test_three_columns_with_a_long_text_scroll_on_a_phone() -> None:
    short, long = (read_page(page(gate(verdict("wrong", reason=text), exit_code=1))) for text in ("short", "x" * 150))
    assert long.attributes.count(("class", "broad")) == short.attributes.count(("class", "broad")) + 1


def test_one_command_is_not_shown_twice() -> None:
    row = verdict("wrong", rerun=WRONG.reproduce)
    text = markdown(gate(row, exit_code=1, parity=WRONG))
    assert text.count(WRONG.reproduce) == 1
    assert "To judge the first" not in text


def test_columns_of_times_are_there_only_where_a_row_has_one() -> None:
    rows = read_page(page(gate(verdict("wrong"), *same(2), exit_code=1))).table("verdict", "row")
    assert [len(row) for row in rows] == [3]
    assert [len(row) for row in read_page(page(failing())).table("verdict", "row")] == [6, 6, 6]


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (failing(), "bits differ, and that is never accepted"),
        (gate(verdict("slower"), exit_code=1), "One that is intended is accepted"),
        (gate(verdict("wrong"), exit_code=1), "bits differ"),
        (gate(verdict("slower"), exit_code=1, parity=WRONG), "bits differ"),
        (gate(verdict("wrong"), verdict("missing"), exit_code=2), "what is missing is never a pass"),
        (passing(), "No action needed; 1 accepted change listed below."),
    ],
)
def test_what_to_do_about_it_stands_right_below_the_verdict(result: GateResult, words: str) -> None:
    assert words in markdown(result).splitlines()[6]


def test_rows_that_cannot_be_told_are_open_where_they_are_the_verdict() -> None:
    seen = outside_details(markdown(unsure()))
    assert "would have shown 3.1 %" in seen
    assert "the controls moved (copy)" in seen
    assert "? moved" in seen


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (None, "not run on this code"),
        (SelftestScore(caught=60, planted=60), "catch 60 of 60 planted faults"),
        (SelftestScore(caught=8, planted=8, catalogue=60), "catch 8 of 8 planted faults, a part of 60"),
        (
            SelftestScore(caught=0, planted=1, missed=("clock drift",)),
            "catch 0 of 1 planted fault; missed: clock drift",
        ),
        (SelftestScore(caught=0, planted=30, missed=("x",) * 30), "and 10 more"),
    ],
)
def test_the_selftest_score(score: SelftestScore | None, words: str) -> None:
    assert words in outside_details(markdown(gate(*same(1), selftest=score)))


@pytest.mark.parametrize(
    ("rows", "changes", "code"),
    [
        (same(2), {}, 0),
        ((verdict("slower"),), {}, 1),
        ((verdict("wrong"),), {}, 1),
        ((verdict("wrong"), verdict("missing")), {}, 2),
        ((verdict("broken"),), {"exit_code": 3}, 2),
        ((*same(2), verdict("cannot_tell")), {}, 3),
        ((), {}, 3),
        (same(2), {"parity": WRONG}, 1),
        (same(2), {"parity": ParityBlock(first_divergence="somewhere")}, 1),
        (same(2), {"canaries": unsure().canaries}, 3),
        (same(2), {"exit_code": 77}, 2),
    ],
)
def test_a_claim_that_the_rows_do_not_carry_is_not_repeated(rows: tuple, changes: dict, code: int) -> None:  # type: ignore[type-arg]
    result = gate(*rows, **changes)
    assert exit_code(result) == code
    text = markdown(result)
    stated = changes.get("exit_code", 0)
    assert (f"gate.json says exit code {stated}" in text) == (code != stated)
    assert ("PASS" in text) == (code == 0)


def test_the_page_says_what_the_comment_says() -> None:
    for result in (passing(), failing(), unsure()):
        seen = read_page(page(result)).text
        made = document(result)
        for words in (made.title, *made.reasons, *(section.title for section in made.sections)):
            assert words in seen


def test_an_empty_gate_shows_nothing_and_says_so() -> None:
    empty = gate(canaries=(), parity=ParityBlock(), environment=None, gpu=None, device="host", policy={}, selftest=None)
    text = markdown(empty)
    assert "## ? CANNOT TELL: no row was judged" in text
    assert "No row was judged" in outside_details(text)
    assert "Nothing was compared." in text
    assert "host device, which has no speed" in text
    read_page(page(empty))


@pytest.mark.parametrize("kind", ["base", "head"])
def test_unpaired_times_stand_apart_and_are_labelled(kind: str) -> None:
    result = gate(*same(1), verdict("cannot_tell", reason="the arms were not measured in turn"), exit_code=3)
    assert "not paired" not in markdown(result)
    arm = msgspec.structs.replace(getattr(result, kind), kind="run")
    text = markdown(msgspec.structs.replace(result, **{kind: arm}))
    assert "1 time of separate runs, not paired: shown, and no verdict" in text
    assert "+1.8 %" in text
    assert "+1.8 %" not in outside_details(text)


def test_nan_is_shown_and_breaks_nothing() -> None:
    row = msgspec.structs.replace(verdict("broken"), ratio=float("nan"), low=float("nan"), high=float("nan"))
    text = markdown(gate(row, seconds=float("nan")))
    assert "+nan % (+nan to +nan)" in text
    assert exit_code(gate(row)) == 2


@pytest.mark.parametrize(
    ("claimed", "shown"),
    [
        ("PASS: 40 same", "REGRESSION: 1 wrong"),
        ("PASS", "REGRESSION: 1 wrong"),
        ("REGRESSION: mine", "REGRESSION: mine"),
    ],
)
def test_a_headline_that_is_not_of_the_exit_code_is_not_shown(claimed: str, shown: str) -> None:
    assert headline(gate(verdict("wrong"), exit_code=1, headline=claimed)) == shown
