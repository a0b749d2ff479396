"""Foreign text (file names, models, toggles, error texts) made safe to show.

Everything a row stores came from somewhere else. `one_line` is applied to all of it before any rendering, `markdown`
on top of it for report.md; HTML is escaped by the template engine.
"""

from __future__ import annotations

import re
import textwrap
import unicodedata

LONGEST_LINE = 400  # characters of a foreign text in a table; rows.jsonl keeps the whole

_SYNTAX = re.compile(r"[\\`*\[\]~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}
_LINE_START = re.compile(r"^(\d*)([-+.)]|#+|=+)(?=[ \-=]|$)")  # a list, heading or underline
_LINK = re.compile(r"(://|\bwww\.)")
_REFERENCE = re.compile(r"([@#]|\bGH-(?=\d)|:(?=[a-z0-9+-]*[a-z_][a-z0-9_+-]*:))(?=\S)")  # also :emoji:
_RUNNER = re.compile(r"^\s*::|##(?=\[)")
_NO_MENTION = "\u200b"  # the forge looks for names in the finished page, where no escape is left: break the name itself


def one_line(text: object, *, longest: int = LONGEST_LINE) -> str:
    """One line of visible characters: controls, line ends, direction marks and lone surrogates become \\n, \\x1b ..."""
    raw = str(text)
    visible = raw if raw.isprintable() else "".join(_visible(character) for character in raw)
    if len(visible) <= longest:
        return visible
    head = (longest - 5) // 2
    return f"{visible[:head]} ... {visible[-(longest - 5 - head) :]}"


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no markup, table border, link, mention or issue number in it works."""
    escaped = _SYNTAX.sub(lambda found: "\\" + found.group(), one_line(text, longest=max(LONGEST_LINE, len(text))))
    escaped = _LINK.sub(lambda found: found.group().replace(":", "\\:").replace(".", "\\."), escaped)
    escaped = _REFERENCE.sub(lambda found: found.group() + _NO_MENTION, escaped)
    escaped = "".join(_ENTITIES.get(character, character) for character in escaped)
    return _LINE_START.sub(r"\1\\\2", escaped)


def fenced(text: str) -> str:
    """A Markdown code block; the fence is longer than any run of backticks inside."""
    runs = [len(run) for run in re.findall(r"`+", text)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    lines = "\n".join(logged(line, longest=len(line) * 10 + 1) for line in text.split("\n"))
    return f"{fence}\n{lines}\n{fence}"


def logged(text: object, *, longest: int = LONGEST_LINE) -> str:
    """One line for a log whose runner obeys lines of its own kind (::name:: and ##[name]): such a line is broken."""
    return _RUNNER.sub(lambda found: _NO_MENTION.join(found.group()), one_line(text, longest=longest))


def label(text: object, *, longest: int = 44, width: int = 0) -> str:
    """A label for a picture: ASCII (the font has it), dollar signs that start no formula, cut in the middle.

    With a `width` it is broken into lines of at most so many characters.
    """
    plain = one_line(text, longest=10_000).encode("ascii", "backslashreplace").decode("ascii")
    shown = one_line(plain, longest=longest)
    return (textwrap.fill(shown, width) if width else shown).replace("$", r"\$")


def _visible(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii") if ord(character) != 0xA0 else " "
