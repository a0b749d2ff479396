"""What all sides of a comparison run, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.adapters.settings import NUMERICS
from harness.code_hash import package_folder
from harness.environment import git_state, version
from harness.tape import Tape, step_of
from reference.spec.model import Model

Rows = dict[tuple[str, int], NDArray[np.float32]]  # by key of the point and position, in causal order


@dataclass(frozen=True, kw_only=True)
class Script:
    """Tokens of a model: all but the last `decoded` are prefilled, those are given one by one."""

    model: Model
    name: str  # path of the model, or NAME:QUANT
    sha256: str
    ids: NDArray[np.int64]
    decoded: int

    @property
    def prefilled(self) -> NDArray[np.int64]:
        return self.ids[: len(self.ids) - self.decoded]

    @property
    def one_by_one(self) -> list[int]:
        return [int(token) for token in self.ids[len(self.ids) - self.decoded :]]

    def passes(self) -> list[tuple[int, NDArray[np.int64]]]:
        """Position of the first token of each call, and its tokens."""
        whole = [(0, self.prefilled)] if len(self.prefilled) else []
        start = len(self.prefilled)
        return whole + [(start + i, np.array([token])) for i, token in enumerate(self.one_by_one)]

    def step(self, position: int) -> tuple[int, int]:
        """Step and row in it: step 0 is the prefill."""
        return step_of(position, prefilled=len(self.prefilled))

    def head(self, run: str, kv: str, caveats: tuple[str, ...] = ()) -> dict[str, Any]:
        """The fields of harness.tape.TapeHead but for the points."""
        commit, dirty = git_state(package_folder("harness").parent)
        return {
            "run": run, "model": self.name, "sha256": self.sha256, "kv": kv, "decoded": self.decoded,
            "tokens": tuple(int(token) for token in self.ids), "numerics": NUMERICS, "version": version(),
            "git_commit": commit, "git_dirty": dirty, "caveats": caveats,
        }  # fmt: skip


class SavedOp(Protocol):
    """One op of one side with all it read. `save` writes it, and what it gave, to a file; see op_file.py."""

    @property
    def text(self) -> str:
        """Its kernels, or the oracle's op."""

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """By the names of buffers; empty where they have none."""

    def save(self, path: Path, row: NDArray[Any]) -> None: ...
    def again(self, cache: Path) -> NDArray[Any]:
        """Run it anew: the row of its value."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """A row of a value: float32, float16, int8, or float64 of the ideal form."""

    row: NDArray[Any]
    op: SavedOp


class Side(Protocol):
    """One way to run the script."""

    @property
    def run(self) -> str:
        """As it was asked for."""

    def tape(self) -> Tape: ...
    def rows(self) -> Rows:
        """Every tap's values, as float32. Raises BadCall where only hashes can be had."""

    def look(self, key: str, position: int) -> Seen | None:
        """Run again and keep the op that made a value; None for a stored tape, which can do no such thing."""
