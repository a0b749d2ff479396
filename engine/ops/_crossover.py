"""Up to how many activation rows the matvec is taken: by the table that was measured on a GPU of this name.

A table is engine/ops/crossover/<name>.toml, made by `zeroulp bench crossover`. Only speed depends on it, never a bit.
"""

from __future__ import annotations

import math
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.weights.tiles import TILES
from reference.spec.errors import BadInput

TABLES = Path(__file__).with_name("crossover")
SCHEMA = 1
DEFAULT_ROWS = 1  # without a table, and for weights that are far from all that it has
NEAR = 2.0  # factors of two, outputs and columns together, between a weight and one that was measured


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A weight that was timed: up to `matvec_rows` rows its matvec is the faster path."""

    type: str
    outputs: int
    cols: int
    matvec_rows: int

    def distance(self, outputs: int, cols: int) -> float:
        """In factors of two."""
        return abs(math.log2(outputs / self.outputs)) + abs(math.log2(cols / self.cols))


def table_path(gpu: str, folder: Path) -> Path:
    """Where the table of a GPU of this name is, or would be."""
    return folder / f"{re.sub('[^A-Za-z0-9]+', '_', gpu)}.toml"


def matvec_rows(gpu: str, type_name: str, outputs: int, cols: int) -> int:
    """The most rows for which `auto` takes the matvec. Raises BadInput if the GPU's table cannot be used."""
    return _looked_up(TABLES, gpu, type_name, outputs, cols)


@cache
def _looked_up(folder: Path, gpu: str, type_name: str, outputs: int, cols: int) -> int:
    known = [one for one in read_table(table_path(gpu, folder), gpu) if one.type == type_name]
    nearest = min(known, key=lambda one: one.distance(outputs, cols), default=None)
    near = nearest is not None and nearest.distance(outputs, cols) <= NEAR
    return nearest.matvec_rows if nearest is not None and near else DEFAULT_ROWS


def read_table(path: Path, gpu: str) -> tuple[Measured, ...]:
    """The weights of a GPU's table; none if there is no such file. Raises BadInput naming what is wrong in it."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: cannot read the crossover table ({error})") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}") from None
    if data.get("schema") != SCHEMA:
        raise BadInput(f"{path}: schema is {data.get('schema')!r}, expected {SCHEMA}")
    if data.get("gpu") != gpu:
        raise BadInput(f"{path}: gpu is {data.get('gpu')!r}, expected {gpu!r}")
    weights = data.get("weight")
    if not isinstance(weights, list) or not weights or set(data) != {"schema", "gpu", "weight"}:
        raise BadInput(f"{path}: expected schema, gpu and at least one [[weight]], nothing else")
    return tuple(_measured(item, f"{path}: weight {number}") for number, item in enumerate(weights, start=1))


def _measured(item: Any, where: str) -> Measured:
    sizes = ("outputs", "cols", "matvec_rows")
    if not isinstance(item, dict) or set(item) != {"type", *sizes}:
        raise BadInput(f"{where}: expected type, {', '.join(sizes)}, nothing else")
    if not isinstance(item["type"], str) or item["type"] not in TILES:
        raise BadInput(f"{where}: type is {item['type']!r}, expected one of {', '.join(TILES)}")
    for name in sizes:
        if not isinstance(item[name], int) or isinstance(item[name], bool) or item[name] < 1:
            raise BadInput(f"{where}: {name} is {item[name]!r}, expected a whole number from 1 on")
    return Measured(**item)
