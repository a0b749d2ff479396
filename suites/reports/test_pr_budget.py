"""A comment within its bytes: what passed goes first, what failed last, and every cut is said."""

from __future__ import annotations

import re

import pytest

from harness.errors import BadCall
from harness.gate.schema import GateResult, ParityBlock, ParityCheck
from reports.pr import LEAST, MARKER, markdown, page
from suites.reports.gates import failing, gate, passing, unsure, verdict
from suites.reports.page import read_page

FOREIGN = "\U0001f600|`<@" * 200


def full(slower: int, others: int, passed: int) -> GateResult:
    rows = [verdict("slower", number, label=f"slow{number}.") for number in range(slower)]
    rows += [verdict("accepted", number, label=f"accepted{number}.") for number in range(others)]
    return gate(*rows, *(verdict("same", number, label=f"same{number}.") for number in range(passed)), exit_code=1)


def numbers(text: str, name: str) -> list[int]:
    return [int(found) for found in re.findall(rf"\b{name}(\d+)\.", text)]


@pytest.mark.parametrize("limit", [LEAST, 5_000, 8_000, 12_345, 20_000, 60_000])
@pytest.mark.parametrize(
    "result",
    [passing(), failing(), unsure(), full(3, 30, 400), full(200, 5, 5), full(0, 0, 5000), gate()],
    ids=["passing", "failing", "unsure", "mixed", "slow", "long", "empty"],
)
def test_never_longer_than_asked(result: GateResult, limit: int) -> None:
    text = markdown(result, limit)
    assert len(text.encode()) <= limit
    assert text.startswith(MARKER)
    assert markdown(result).splitlines()[2] == text.splitlines()[2]
    assert text.count("<details>") == text.count("</details>")


def test_nothing_is_cut_where_there_is_room() -> None:
    text = markdown(full(3, 30, 60))
    assert "left out" not in text
    assert len(numbers(text, "same")) == 60


def test_passing_rows_go_first() -> None:
    text = markdown(full(10, 10, 400), 20_000)
    assert numbers(text, "slow") == numbers(text, "accepted") == list(range(10))
    kept = len(numbers(text, "same"))
    assert 0 < kept < 400
    assert f"400 verdicts: the same ({400 - kept} of 400 left out for space)" in text
    assert f"{400 - kept} lines of the tables below left out for space; pr.html has all" in text


def test_the_budget_is_used() -> None:
    """Rows are given up as needed, not by the table."""
    text = markdown(full(0, 0, 400), 20_000)
    assert len(text.encode()) > 18_000


def test_folded_rows_go_before_moved_ones() -> None:
    text = markdown(full(10, 60, 60), 7_000)
    assert numbers(text, "slow") == list(range(10))
    assert numbers(text, "same") == []
    assert len(numbers(text, "accepted")) < 60
    assert "60 verdicts: the same (60 of 60 left out for space)" in text


def test_a_failed_row_is_never_cut_in_silence() -> None:
    text = markdown(full(300, 0, 0), 9_000)
    kept = len(numbers(text, "slow"))
    assert 0 < kept < 300
    assert f"300 verdicts: moved or failed ({300 - kept} of 300 left out for space)" in text
    assert "metric: 300 slower" in text


def test_the_worst_of_the_moved_rows_stay() -> None:
    rows = [verdict("faster", number, label=f"fast{number}.") for number in range(100)]
    rows += [verdict("wrong", 7, label="wrong7."), verdict("slower", 8, label="slow8.")]
    text = markdown(gate(*rows, exit_code=1), 9_000)
    assert numbers(text, "wrong") == [7]
    assert numbers(text, "slow") == [8]
    assert len(numbers(text, "fast")) < 100


def test_a_page_has_everything() -> None:
    assert len(read_page(page(full(3, 30, 4000))).table("verdict", "row")) == 3
    assert len(numbers(page(full(3, 30, 4000)), "same")) == 4000


def test_foreign_texts_that_fill_the_frame_leave_the_verdict() -> None:
    checks = tuple(ParityCheck(name=FOREIGN, passed=1, values=1) for _ in range(50))
    parity = ParityBlock(checks=checks, first_divergence=FOREIGN, reproduce=FOREIGN * 20)
    result = gate(
        verdict("wrong"), exit_code=1, headline=f"REGRESSION: {FOREIGN}", notes=(FOREIGN,) * 100, parity=parity
    )
    for limit in (LEAST, 10_000, 30_000):
        text = markdown(result, limit)
        assert len(text.encode()) <= limit
        assert text.splitlines()[2].startswith("## ✗ ")
        assert "1 wrong" in text
        assert "left out for space" in text


def test_a_limit_that_holds_no_verdict_is_refused() -> None:
    with pytest.raises(BadCall, match=f"expected at least {LEAST}"):
        markdown(passing(), LEAST - 1)
