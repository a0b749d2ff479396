"""Foreign text in the report of a gate stays text: in Markdown, in HTML, and in a log."""

from __future__ import annotations

import re
import unicodedata

import pytest
from markdown_it import MarkdownIt

from reports.pr import MARKER, markdown, page
from reports.text import fenced, logged
from suites.reports.gates import failing
from suites.reports.hostile import ALL, NAMES, hostile_gate
from suites.reports.page import read_page, without_code

ALLOWED = re.compile(r"</?details>|</?summary>|" + re.escape(MARKER))
INVISIBLE = ("Cc", "Cf", "Zl", "Zp")


@pytest.fixture(scope="module")
def text() -> str:
    return markdown(hostile_gate(), 200_000)


def test_only_our_own_markup_is_in_the_comment(text: str) -> None:
    plain = without_code(text)
    assert re.findall(r"<[^ ]", ALLOWED.sub("", plain)) == []
    assert plain.count(MARKER) == 1
    assert plain.count("<details>") == plain.count("</details>") == plain.count("</summary>") > 0
    for active in ("@someone", "#1 ", "GH-12", ":white_check_mark:", "`b`", "[l]", "http://", "www.e", "**b**", "~~c"):
        assert active not in plain, active


def test_a_markdown_reader_finds_no_element_of_a_stranger() -> None:
    """HTML of the comment as CommonMark with tables gives it: the same elements as for a harmless gate."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    clean, found = reader.render(markdown(failing())), reader.render(markdown(hostile_gate(), 200_000))
    elements = [set(read_page(text.replace(MARKER, "").replace("&lt;br&gt;", "")).tags) for text in (clean, found)]
    assert elements[1] <= elements[0]
    assert "table" in elements[1]


def test_headings_and_list_items_are_ours(text: str) -> None:
    own = {line for line in markdown(failing()).splitlines() if line.startswith("#")}
    found = [line for line in without_code(text).splitlines() if line.startswith("#")]
    assert {line for line in found if not line.startswith("## ")} <= own
    assert len([line for line in found if line.startswith("## ")]) == 1


def test_every_row_of_a_table_has_as_many_cells_as_its_head(text: str) -> None:
    for block in without_code(text).split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) <= 1, lines[0]


def test_nothing_invisible_but_what_breaks_names(text: str) -> None:
    for shown in (text, page(hostile_gate())):
        odd = {character for character in shown if unicodedata.category(character) in INVISIBLE} - {"\n", "\u200b"}
        assert odd == set()
    assert "\u200b" not in page(hostile_gate())


def test_no_line_is_a_command_to_the_runner_that_prints_it(text: str) -> None:
    for line in text.splitlines():
        assert not line.lstrip().startswith("::"), line
        assert "##[" not in line


@pytest.mark.parametrize("name", NAMES)
def test_a_line_for_a_log(name: str) -> None:
    line = logged(name)
    assert "\n" not in line
    assert not line.lstrip().startswith("::")
    assert "##[" not in line


def test_a_fence_is_not_left() -> None:
    box = fenced("x\n```\n::error::y\n##[group]z").splitlines()
    assert box[0] == box[-1] == "````"
    assert len(box) == 6
    assert not any(line.startswith("::") or "##[" in line for line in box)


def test_elements_of_the_page_are_ours() -> None:
    clean, found = read_page(page(failing())), read_page(page(hostile_gate()))
    assert set(found.tags) == set(clean.tags)
    assert {name for name, _ in found.attributes} == {name for name, _ in clean.attributes}
    assert all(value.startswith("#") for name, value in found.attributes if name == "href")
    for name in NAMES[:2]:
        assert name.replace("\u200b", "") in found.text.replace("\\u200b", "")


def test_the_texts_are_still_there() -> None:
    seen = read_page(page(hostile_gate())).text
    assert "\\u202egnp.exe" in seen
    assert "\\x1b[31m\\x00" in seen
    assert '" onmouseover="x"' in seen
    assert ALL not in seen
