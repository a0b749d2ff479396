"""Reading a matrix from TOML. Every fault is a BadCall that names file and line."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.adapters.settings import TOGGLE_NAMES, canonical_toggles
from harness.errors import BadCall
from harness.schema import Shape, Target
from harness.targets import FIGURES
from harness.where import parse_where

DEFAULT = Path(__file__).with_name("default_matrix.toml")
DEVICES = ("host", "cuda")
CONFIG_SCHEMA = 1
ARRAYS = ("group", "target")
MOST_VERIFIED = 16  # rows whose logits are computed at once
SHAPE_FIELDS = ("prompt", "generated", "context", "depth", "verify")
ROW_FIELDS = frozenset(("model", "quant", "device", *SHAPE_FIELDS, *TOGGLE_NAMES))

Value = str | int


@dataclass(frozen=True, kw_only=True)
class Group:
    """Every combination of its members is a row, but for those that match all fields of an exclusion."""

    models: tuple[str, ...]  # names to synthesize, or paths
    quants: tuple[str, ...]  # for names
    seed: int
    devices: tuple[str, ...]
    shapes: tuple[Shape, ...]
    toggles: Mapping[str, tuple[Value, ...]]
    exclude: tuple[Mapping[str, tuple[Value, ...]], ...]


@dataclass(frozen=True, kw_only=True)
class Config:
    groups: tuple[Group, ...]
    targets: tuple[Target, ...] = ()
    repeats: int = 5
    timeout: float = 600.0  # seconds


def read_text(path: Path) -> str:
    """A configuration file. Raises BadCall."""
    try:
        return path.read_bytes().decode()
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise BadCall(f"{path}: not UTF-8 text (byte {error.start})") from None


def parse_config(text: str, path: Path) -> Config:
    """Check a matrix; paths of models in it are relative to the folder of `path`."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadCall(f"{path} {_with_line(str(error), text)}") from None
    top = _Table(data, f"{path}", _Lines(text))
    top.only("schema", "repeats", "timeout", *ARRAYS)
    if top.whole("schema", CONFIG_SCHEMA) != CONFIG_SCHEMA:
        raise top.fault("schema", f"expected {CONFIG_SCHEMA}")
    groups = top.tables("group")
    if not groups:
        raise BadCall(f"{path}: no [[group]]: expected at least one group of rows")
    return Config(
        repeats=top.whole("repeats", 5, minimum=1),
        timeout=float(top.whole("timeout", 600, minimum=1)),
        groups=tuple(_group(group, path.parent) for group in groups),
        targets=tuple(_target(target) for target in top.tables("target")),
    )


def _group(table: _Table, folder: Path) -> Group:
    table.only("models", "quants", "seed", "devices", "shapes", "toggles", "exclude")
    models = tuple(_model(name, folder) for name in table.texts("models"))
    quants = table.texts("quants") if "quants" in table.data else ()
    if not quants and not all(is_path(model) for model in models):
        raise table.fault("models", "quants: expected for a model that is made by name")
    shapes = tuple(_shape(shape) for shape in table.tables("shapes"))
    if not shapes:
        raise table.fault("shapes", "expected at least one shape")
    devices = table.texts("devices") if "devices" in table.data else DEVICES
    for device in devices:
        if device not in DEVICES:
            raise table.fault("devices", f"{device!r} is not one of {', '.join(DEVICES)}")
    return Group(
        models=models,
        quants=quants,
        seed=table.whole("seed", 1, minimum=0),
        devices=devices,
        shapes=shapes,
        toggles=_toggles(table),
        exclude=tuple(_exclusion(item) for item in table.tables("exclude")),
    )


def _target(table: _Table) -> Target:
    table.only("name", "where", "figure", "must", "aim")
    where, figure = table.text("where"), table.text("figure")
    if figure not in FIGURES:
        raise table.fault("figure", f"{figure!r} is not one of {', '.join(FIGURES)}")
    try:
        parse_where(where, ROW_FIELDS)
    except BadCall as error:
        raise table.fault("where", str(error).removeprefix(f"--where {where!r}: ")) from None
    must, aim = table.number_of("must"), table.number_of("aim") if "aim" in table.data else None
    if aim is not None and not (aim <= must if FIGURES[figure].least else aim >= must):
        raise table.fault("aim", f"{aim:g} is easier than what must be reached, {must:g} {FIGURES[figure].unit}")
    return Target(name=table.text("name"), where=where, figure=figure, must=must, aim=aim)


def is_path(model: str) -> bool:
    return model.endswith(".gguf")


def _model(name: str, folder: Path) -> str:
    return str((folder / name).resolve()) if is_path(name) else name


def _shape(table: _Table) -> Shape:
    table.only(*SHAPE_FIELDS)
    prompt, generated = table.whole("prompt", minimum=1), table.whole("generated", minimum=1)
    depth, verify = table.whole("depth", 0, minimum=0), table.whole("verify", 0, minimum=0)
    context = table.whole("context", minimum=1)
    if verify > min(generated, MOST_VERIFIED):
        most = f"the {generated} generated tokens, in whose places it is computed, and {MOST_VERIFIED}"
        raise table.fault("verify", f"{verify} is more than {most}")
    if depth + prompt + generated > context:
        raise table.fault(
            "context", f"{context} is less than depth + prompt + generated = {depth + prompt + generated}"
        )
    return Shape(prompt=prompt, generated=generated, context=context, depth=depth, verify=verify)


def _toggles(table: _Table) -> dict[str, tuple[Value, ...]]:
    axes: dict[str, tuple[Value, ...]] = {}
    found = table.table("toggles")
    for name, given in found.data.items():
        values = found.values(name)
        for value in values:
            try:
                canonical_toggles({name: value})
            except BadCall as error:
                raise found.fault(name, str(error)) from None
        if not values:
            raise found.fault(name, f"{given!r}: expected at least one value")
        axes[name] = values
    return axes


def _exclusion(table: _Table) -> dict[str, tuple[Value, ...]]:
    table.only(*ROW_FIELDS)
    if not table.data:
        raise table.fault("exclude", "an exclusion without fields would match every row")
    return {name: table.values(name) for name in table.data}


@dataclass(frozen=True)
class _Lines:
    """Finds the line a key stands on; tomllib does not tell."""

    text: str

    def of(self, key: str, array: str, number: int) -> int:
        """Line of the first `key =` (in an inline table, too) behind the header of the table; else of the header.

        The table is [[array]] number 1, 2 ..., or, with number 0, the top of the file.
        """
        lines = self.text.splitlines()
        matches = ((i, re.match(r"\s*\[\[\s*(\w+)\s*\]\]", line)) for i, line in enumerate(lines))
        headers = [(i, match.group(1)) for i, match in matches if match]
        own = [i for i, name in headers if name == array]
        first = own[number - 1] if number else 0
        last = next((i for i, _ in headers if i >= first + bool(number)), len(lines))
        pattern = re.compile(rf"(^|[\s,{{\[.\"']){re.escape(key)}[\"']?\s*(=|\])")
        found = (i for i in range(first, last) if pattern.search(lines[i].split("#")[0]))
        return next(found, first) + 1


@dataclass(frozen=True)
class _Table:
    """One TOML table with typed access."""

    data: Mapping[str, Any]
    path: str
    lines: _Lines
    array: str = ""  # of ARRAYS: the one that this table is in
    number: int = 0  # in it, from 1; 0: the top of the file
    inside: Sequence[str] = field(default=())

    def fault(self, key: str, text: str) -> BadCall:
        name = ".".join((*self.inside, key))
        return BadCall(f"{self.path} line {self.lines.of(key, self.array, self.number)}: {name}: {text}")

    def only(self, *names: str) -> None:
        for key in self.data:
            if key not in names:
                raise self.fault(key, f"unknown key, expected one of {', '.join(sorted(names))}")

    def whole(self, key: str, default: int | None = None, *, minimum: int = 0) -> int:
        if key not in self.data and default is None:
            raise self.fault(key, "missing")
        value = self.data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self.fault(key, f"{value!r} is not a whole number, at least {minimum}")
        return value

    def number_of(self, key: str) -> float:
        """Above zero. Raises BadCall."""
        value = self.data.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
            raise self.fault(key, f"{value!r} is not a number above zero" if key in self.data else "missing")
        return float(value)

    def text(self, key: str) -> str:
        value = self.data.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.fault(key, f"{value!r} is not a text" if key in self.data else "missing")
        return value

    def values(self, key: str) -> tuple[Value, ...]:
        given = self.data[key]
        values = given if isinstance(given, list) else [given]
        for value in values:
            if not isinstance(value, str | int) or isinstance(value, bool):
                raise self.fault(key, f"{value!r} is neither text nor a whole number")
        return tuple(values)

    def texts(self, key: str) -> tuple[str, ...]:
        if key not in self.data:
            raise self.fault(key, "missing")
        values = self.values(key)
        if not values or not all(isinstance(value, str) for value in values):
            raise self.fault(key, "expected a list of texts")
        return tuple(str(value) for value in values)

    def table(self, key: str) -> _Table:
        return self._of(key, self.data.get(key, {}))

    def tables(self, key: str) -> list[_Table]:
        given = self.data.get(key, [])
        if not isinstance(given, list):
            raise self.fault(key, "expected a list of tables")
        if key in ARRAYS and not self.number:
            checked = [self._checked(key, item) for item in given]
            return [_Table(item, self.path, self.lines, key, i) for i, item in enumerate(checked, start=1)]
        return [self._of(key, item) for item in given]

    def _of(self, key: str, item: object) -> _Table:
        return _Table(self._checked(key, item), self.path, self.lines, self.array, self.number, (*self.inside, key))

    def _checked(self, key: str, item: object) -> Mapping[str, Any]:
        if not isinstance(item, dict):
            raise self.fault(key, "expected a table")
        return item


def _with_line(message: str, text: str) -> str:
    """tomllib says `(at line 3, column 5)` or `(at end of document)`."""
    found = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(found.group(1)) if found else len(text.splitlines())
    return f"line {line}: {message.split(' (at ')[0]}"
