"""What a user's kernel is called with: the arguments of an op and one case of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.forms import Form


@dataclass(frozen=True, kw_only=True)
class Argument:
    """A parameter of the kernel, in the words of its own language."""

    name: str
    type: str  # "float*", "const float*", "int", "float", ...
    meaning: str  # shape of a buffer, or what a number is
    listed: bool = True  # False: given only where --args asks for it

    @property
    def is_size(self) -> bool:
        return self.type == "int"


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """Inputs, the outputs that are owed, and the oracle."""

    name: str
    arrays: Mapping[str, NDArray[Any]]
    sizes: Mapping[str, int]
    outputs: Mapping[str, tuple[tuple[int, ...], type[np.generic]]]
    oracle: Callable[[Form], Mapping[str, NDArray[Any]]]
    scalars: Mapping[str, np.float32]


@dataclass(frozen=True, kw_only=True)
class Op:
    """An op that a plain kernel can be written for: row-major buffers, nothing in place, nothing padded."""

    name: str
    formula: str
    arguments: tuple[Argument, ...]
    cases: Callable[[], Iterator[Case]]
    grid: str = "rows"
    block: str = "256"
    has_ideal: bool = True

    @property
    def listed(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if argument.listed)

    def prototype(self, entry: str) -> str:
        """The kernel's first lines, as CUDA C++."""
        parameters = ", ".join(f"{argument.type} {argument.name}" for argument in self.listed)
        return f'extern "C" __global__ void {entry}({parameters})'


def output(name: str, meaning: str, kind: str = "float") -> Argument:
    return Argument(name=name, type=f"{kind}*", meaning=meaning)


def given(name: str, meaning: str, kind: str = "float", *, listed: bool = True) -> Argument:
    return Argument(name=name, type=f"const {kind}*", meaning=meaning, listed=listed)


def sizes(**meanings: str) -> tuple[Argument, ...]:
    return tuple(Argument(name=name, type="int", meaning=meaning) for name, meaning in meanings.items())


def scalar(name: str, meaning: str) -> Argument:
    return Argument(name=name, type="float", meaning=meaning)
