"""Reading the rules of a gate from TOML. Every fault is a BadCall that names file and line."""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
from itertools import pairwise
from pathlib import Path

from harness.config import read_text
from harness.errors import BadCall
from harness.statistics import Policy

POLICY_SCHEMA = 1
WHOLE = ("confirm_pairs", "one_sided")
SMALLEST = {"confirm_pairs": 2, "one_sided": 1, "absolute_us": 0}  # of what is no share


def read_policy(path: Path) -> Policy:
    """A file such as `policy_text` gives; what it leaves out stays as it is. Raises BadCall."""
    return parse_policy(read_text(path), path)


def parse_policy(text: str, path: Path) -> Policy:
    """Check the text of a policy file that lies at `path`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadCall(f"{path}: {error}") from None
    names = [field.name for field in dataclasses.fields(Policy)]
    if data.get("schema") != POLICY_SCHEMA:
        raise BadCall(f"{path} line {_line('schema', text)}: schema: expected {POLICY_SCHEMA}")
    found: dict[str, object] = {}
    for name, value in data.items():
        try:
            if name != "schema":
                found[name] = _checked(name, value, names)
        except BadCall as error:
            raise BadCall(f"{path} line {_line(name, text)}: {name}: {error}") from None
    policy = dataclasses.replace(Policy(), **found)  # type: ignore[arg-type]
    if not policy.floor < policy.pass_below:
        line = _line("pass_below" if "pass_below" in found else "floor", text)
        raise BadCall(f"{path} line {line}: floor {policy.floor:g} is not below pass_below {policy.pass_below:g}")
    return policy


def policy_text(policy: Policy) -> str:
    """The file that `read_policy` reads back as this policy."""
    lines = [f"schema = {POLICY_SCHEMA}"]
    for name, value in dataclasses.asdict(policy).items():
        lines.append(f"{name} = {list(value) if isinstance(value, tuple) else value}")
    return "\n".join(lines) + "\n"


def _checked(name: str, value: object, names: list[str]) -> object:
    """The value of a key. Raises BadCall without its place."""
    if name not in names:
        raise BadCall(f"unknown key, expected one of {', '.join(sorted(names))}")
    if name == "looks":
        return _looks(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or (name in WHOLE and not isinstance(value, int)):
        raise BadCall(f"{value!r} is not a {'whole ' if name in WHOLE else ''}number")
    if name in SMALLEST:
        if not value >= SMALLEST[name]:
            raise BadCall(f"{value!r}: expected at least {SMALLEST[name]}")
        if not value < math.inf:
            raise BadCall(f"{value!r}: expected a finite number")
    elif not 0 < value < 1:
        raise BadCall(f"{value!r}: expected a share between 0 and 1")
    return value


def _looks(value: object) -> tuple[int, ...]:
    """Numbers of pairs, rising."""
    if not isinstance(value, list) or not value or not all(type(look) is int for look in value):
        raise BadCall("expected a list of whole numbers")
    if not (value[0] >= 2 and all(a < b for a, b in pairwise(value))):
        raise BadCall(f"{value}: expected rising numbers of pairs, from 2 on")
    return tuple(value)


def _line(key: str, text: str) -> int:
    lines = text.splitlines()
    return next((i for i, line in enumerate(lines, start=1) if re.match(rf"\s*[\"']?{re.escape(key)}\b", line)), 1)
