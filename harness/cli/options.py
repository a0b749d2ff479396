"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from harness.errors import BadCall

F = TypeVar("F", bound=Callable[..., Any])

LARGEST_ID = 2**31 - 1
LONGEST_ID = 20  # characters
FILE = click.Path(path_type=Path)


def tokens_options(command: F) -> F:
    """`--tokens` and `--tokens-file`; read them with `read_tokens`."""
    file = click.option("--tokens-file", type=FILE, help="A text file of token ids, apart by commas or white space.")
    return click.option("--tokens", metavar="IDS", help="Token ids, for example 1,2,3.")(file(command))


def toggle_option(command: F) -> F:
    return click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="NAME=VALUE",
        help="A toggle, for example graph=off; can be repeated. `zeroulp toggles` lists them.",
    )(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def read_tokens(tokens: str | None, tokens_file: Path | None) -> list[int]:
    """The ids of whichever was given. Raises BadCall."""
    if (tokens is None) == (tokens_file is None):
        raise BadCall("give the tokens with either --tokens 1,2,3 or --tokens-file FILE")
    where = "--tokens" if tokens_file is None else str(tokens_file)
    text = tokens if tokens_file is None else _text(tokens_file)
    words = (text or "").replace(",", " ").split()
    if not words:
        raise BadCall(f"{where}: no token ids, expected at least one")
    return [_id(word, where) for word in words]


def require_place(path: Path, *, model: Path) -> None:
    """Raises BadCall early if a result cannot be written to `path`, or would replace the model it is made from."""
    if path.is_dir():
        raise BadCall(f"{path}: is a folder, expected the name of a file to write")
    if not path.parent.is_dir():
        raise BadCall(f"{path}: the folder {path.parent} does not exist")
    if path.exists() and model.exists() and path.samefile(model):
        raise BadCall(f"{path}: is the model itself, expected the name of another file to write")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise BadCall(f"{path}: not a text file of token ids") from None


def _id(word: str, where: str) -> int:
    # No more digits than an id can have, and none of what int() would read besides: 1_000, other scripts.
    if not re.fullmatch(r"[+-]?[0-9]+", word):
        raise BadCall(f"{where}: {word[:40]!r} is not a token id, expected whole numbers such as 1,2,3")
    if len(word) > LONGEST_ID or abs(int(word)) > LARGEST_ID:
        raise BadCall(f"{where}: token id {word[:40]} is outside every vocabulary")
    return int(word)
