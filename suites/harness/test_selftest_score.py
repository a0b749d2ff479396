"""A gate shows the score of exactly the code it judges, and says where one that it is given is of another."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.code_hash import PACKAGES, code_hash
from harness.selftest import Missed, Selftest, Tried, encode, keep, of_other_code, read_selftest, score_of

FAULTS = (Tried(name="a", caught=True, by="t"), Tried(name="b", caught=False))


def tree(folder: Path, content: str = "x = 1\n") -> Path:
    for package in PACKAGES:
        (folder / package).mkdir(parents=True, exist_ok=True)
        (folder / package / "__init__.py").write_text(content)
    return folder


def found(of: Path, **changes: object) -> Selftest:
    made = Selftest(faults=FAULTS, caught=1, planted=2, catalogue=2, device="host", code=code_hash(PACKAGES, of))
    return msgspec.structs.replace(made, **changes)


def test_the_score_is_found_by_code_and_device(tmp_path: Path) -> None:
    here, other = tree(tmp_path / "here"), tree(tmp_path / "other", "x = 2\n")
    keep(found(here), tmp_path)
    score = score_of(here, "host", tmp_path)
    assert score is not None
    assert (score.caught, score.planted, score.missed) == (1, 2, ("b",))
    assert score_of(other, "host", tmp_path) is None
    assert score_of(here, "cuda", tmp_path) is None
    (here / "suites" / "__init__.py").write_text("x = 3\n")  # a check that is weaker has another score
    assert score_of(here, "host", tmp_path) is None


def test_a_damaged_one_is_as_if_there_were_none(tmp_path: Path) -> None:
    here = tree(tmp_path / "here")
    keep(found(here), tmp_path)
    (file,) = (tmp_path / "selftest").iterdir()
    file.write_text("{")
    assert score_of(here, "host", tmp_path) is None


def test_a_score_of_other_code_is_noted(tmp_path: Path) -> None:
    here, other = tree(tmp_path / "here"), tree(tmp_path / "other", "x = 2\n")
    assert of_other_code(found(here).score(), here) == ""
    assert "is of other code" in of_other_code(found(here).score(), other)
    assert of_other_code(found(here, code="").score(), other) == ""  # by hand: it does not say


def test_it_reads_back_as_it_was(tmp_path: Path) -> None:
    made = found(tree(tmp_path / "here"), seed=3, exit_code=1)
    (tmp_path / "selftest.json").write_bytes(encode(made))
    assert read_selftest(tmp_path / "selftest.json") == made
    assert made.whole
    assert not found(tmp_path / "here", catalogue=3).whole
    assert found(tmp_path / "here", catalogue=3).score().catalogue == 3


def test_a_check_that_fails_with_nothing_planted_leaves_no_score(tmp_path: Path) -> None:
    clean, here = Missed(name="unplanted", outcome="caught", message="x"), tree(tmp_path / "here")
    score = found(here, missed=(clean,), exit_code=2).score()
    assert (score.caught, score.planted, score.missed) == (0, 2, ("unplanted", "b"))
