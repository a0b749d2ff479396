"""Foreign text is shown as it is: no markup in it works, nothing in it is invisible."""

from __future__ import annotations

import pytest

from reports.text import fenced, label, markdown, one_line
from reports.units import count, plain, short


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a&#124;b"),
        ("`x`", "\\`x\\`"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a\nb\r\tc", "a\\\\nb\\\\r\\\\tc"),
        ("**b** _i_ Q4_K_M", "\\*\\*b\\*\\* \\_i\\_ Q4_K_M"),
        ("[l](x)", "\\[l\\](x)"),
        ("@someone #12", "@\u200bsomeone #\u200b12"),
        ("http://e.com www.e.com", "http\\://e.com www\\.e.com"),
        ("- a", "\\- a"),
        ("1. a", "1\\. a"),
        ("# a", "\\# a"),
        ("1.5 and -3", "1.5 and -3"),
        ("$x$ ~~y~~", "\\$x\\$ \\~\\~y\\~\\~"),
        ("\\|", "\\\\&#124;"),
    ],
)
def test_markdown(text: str, shown: str) -> None:
    assert markdown(text) == shown


def test_one_line_makes_the_invisible_visible() -> None:
    assert one_line("a\x1b[31m\u202eb\u2028c\ud800d\x85") == "a\\x1b[31m\\u202eb\\u2028c\\ud800d\\x85"
    assert one_line("Größe 漢字 5") == "Größe 漢字 5"


def test_long_texts_keep_both_ends() -> None:
    text = one_line("begin" + "x" * 1000 + "end", longest=50)
    assert len(text) == 50
    assert text.startswith("begin")
    assert text.endswith("end")


def test_fence_is_longer_than_any_inside() -> None:
    assert fenced("a ```` b") == "`````\na ```` b\n`````"


def test_label_is_ascii_and_starts_no_formula() -> None:
    shown = label("$\\alpha$ 漢 \U0001f600")
    assert shown.isascii()
    assert shown.count("$") == shown.count("\\$")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (short(1234567), "1.23 M"),
        (short(4.67e9, "B"), "4.67 GB"),
        (short(999.96, "B"), "1.00 kB"),
        (short(12.0), "12"),
        (short(float("nan"), "B"), "nan B"),
        (count(1234567.0), "1,234,567"),
        (count(0.0046), "0.0046"),
        (count(1.27), "1.27"),
        (plain(4690.0), "4,690"),
    ],
)
def test_figures(shown: str, expected: str) -> None:
    assert shown == expected
