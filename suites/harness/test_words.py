"""Numbers in sentences."""

from __future__ import annotations

import pytest

from harness.words import plural


@pytest.mark.parametrize(("number", "words"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1000, "1,000 rows")])
def test_one_is_singular_and_thousands_are_apart(number: int, words: str) -> None:
    assert plural(number, "row") == words


def test_a_word_whose_plural_is_no_s_says_so() -> None:
    assert [plural(number, "row was", "rows were") for number in (1, 2)] == ["1 row was", "2 rows were"]
