"""One op of the oracle, kept with its inputs: the calls of a form that lead from tapped values to one tapped value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.adapters.diverge.op_file import HEADER, npz
from harness.store import write_atomically
from reference.floats import Array
from reference.forms import EXACT, IDEAL, Form
from reference.ops.activations import Activations
from reference.ops.quantize import BLOCK
from reference.spec.model import Tensor

PARTS = ("codes", "scales", "sums")
CHUNK = 128  # the engine pads 8-bit rows to a multiple of it
FORMS = {form.name: form for form in (EXACT, IDEAL)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Call:
    """An operation of a form, and what came of it."""

    op: str
    args: tuple[Any, ...]
    named: Mapping[str, Any]
    out: Any  # None where it writes into its arguments


class Recorder:
    """A form that remembers who made each array, until `forget`."""

    def __init__(self, form: Form, on_append: Callable[[Call], None]) -> None:
        self._calls: dict[int, Call] = {}  # by the address of an array, or the identity of what is none
        self._tapped: set[int] = set()
        self._on_append = on_append
        operations: dict[str, Any] = {
            f.name: self._kept(f.name, getattr(form, f.name)) for f in fields(form) if _is_op(form, f.name)
        }
        self.form = replace(form, **operations)

    def tapped(self, value: Array) -> None:
        """From here on `value` is an input, not a result."""
        self._tapped.add(_identity(value))

    def forget(self) -> None:
        """What was made so far is an input from here on."""
        self._calls.clear()
        self._tapped.clear()

    def last(self, op: str) -> Call:
        """The youngest call of an operation."""
        return next(call for call in reversed(self._calls.values()) if call.op == op)

    def made(self, value: Any) -> list[Call]:
        """The calls that led to a value from tapped ones, in order."""
        found: list[Call] = []

        def visit(item: Any) -> None:
            if isinstance(item, Activations):
                visit(item.values)
                visit(item.quantized)
                return
            call = self._calls.get(_identity(item))
            if call is None or call in found or (item is not value and _identity(item) in self._tapped):
                return
            for one in (*call.args, *call.named.values()):
                visit(one)
            found.append(call)

        visit(value)
        return found

    def _kept(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            if name == "kv_append":
                copies = {key: array.copy() for key, array in named.items()}
                self._on_append(Call(op=name, args=args, named=copies, out=None))
                return operation(*args, **named)
            out = operation(*args, **named)
            if out is not None:
                self._calls[_identity(out)] = Call(op=name, args=args, named=named, out=out)
            return out

        return run


def _is_op(form: Form, name: str) -> bool:
    return callable(getattr(form, name)) and name not in ("dtype", "rope_table", "argmax")


def _identity(value: Any) -> int:
    return int(value.__array_interface__["data"][0]) if isinstance(value, np.ndarray) else id(value)


@dataclass(frozen=True, kw_only=True, eq=False)
class OracleOp:
    """Implements script.SavedOp: calls in words of JSON over numbered arrays.

    The value is what the last call gives: of an 8-bit one the `part`, and of kv_append its argument "keys" or "values".
    """

    form: str
    calls: tuple[dict[str, Any], ...]
    arrays: tuple[NDArray[Any], ...]
    part: str  # "", one of PARTS, "keys" or "values"
    row: int

    @property
    def text(self) -> str:
        last = self.calls[-1]
        weights = [arg["tensor"] for arg in last["args"] if "tensor" in arg]
        return " ".join([last["op"], *weights, f"of the {self.form} form"])

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        return {}

    def save(self, path: Path, row: NDArray[Any]) -> None:
        header = {
            **HEADER, "side": "oracle", "form": self.form, "calls": self.calls, "part": self.part, "row": self.row,
        }  # fmt: skip
        write_atomically(path, npz(header, [row, *self.arrays]))

    def again(self, cache: Path) -> NDArray[Any]:
        del cache  # nothing is compiled
        results: list[Any] = []
        for call in self.calls:
            args = [self._argument(arg, results) for arg in call["args"]]
            named = {name: self._argument(arg, results) for name, arg in call["named"].items()}
            out = getattr(FORMS[self.form], call["op"])(*args, **named)
            results.append(named if call["op"] == "kv_append" else out)
        return row_of(results[-1], self.part, self.row)

    def _argument(self, arg: Mapping[str, Any], results: Sequence[Any]) -> Any:
        if "call" in arg:
            made = results[arg["call"]]
            return made.reshape(arg["shape"]) if arg["shape"] is not None else made
        if "values" in arg:
            values, quantized = (self._argument(arg[name], results) for name in ("values", "quantized"))
            return Activations(values=values, quantized=quantized)
        if "tensor" in arg:
            data = self.arrays[arg["array"]]
            return Tensor(name=arg["tensor"], type=arg["type"], shape=tuple(arg["shape"]), data=data)
        if "array" in arg:
            array = self.arrays[arg["array"]]
            return array[()] if arg["scalar"] else array.copy()
        return arg["plain"]


def packed_op(form: str, calls: Sequence[Call], *, part: str, row: int) -> OracleOp:
    """From calls as they were recorded; their inputs are copied."""
    arrays: list[NDArray[Any]] = []
    made = {_identity(call.out): i for i, call in enumerate(calls) if call.out is not None}
    texts = tuple(
        {
            "op": call.op,
            "args": [_packed(arg, made, arrays) for arg in call.args],
            "named": {name: _packed(arg, made, arrays) for name, arg in call.named.items()},
        }
        for call in calls
    )
    return OracleOp(form=form, calls=texts, arrays=tuple(arrays), part=part, row=row)


def row_of(value: Any, part: str, row: int) -> NDArray[Any]:
    """A row of what a call gave."""
    if part in PARTS:
        whole: NDArray[Any] = padded(getattr(value, part)[row : row + 1], part)[0]
        return whole
    if part:
        return np.asarray(value[part][:, row]).reshape(-1)
    return np.asarray(value[row]).reshape(-1)


def padded(rows: NDArray[Any], part: str) -> NDArray[Any]:
    """An 8-bit row as the engine keeps it: zeros up to a multiple of CHUNK."""
    unit = CHUNK if part == "codes" else CHUNK // BLOCK
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % unit)))


def _packed(arg: Any, made: Mapping[int, int], arrays: list[NDArray[Any]]) -> dict[str, Any]:
    """An argument for JSON; arrays are put aside by number."""
    if arg is None or isinstance(arg, int | float):
        return {"plain": arg}
    if isinstance(arg, Activations):
        return {"values": _packed(arg.values, made, arrays), "quantized": _packed(arg.quantized, made, arrays)}
    if not isinstance(arg, np.generic) and _identity(arg) in made:
        return {"call": made[_identity(arg)], "shape": list(arg.shape) if isinstance(arg, np.ndarray) else None}
    if isinstance(arg, Tensor):
        arrays.append(np.array(arg.data))
        return {"tensor": arg.name, "type": arg.type, "shape": list(arg.shape), "array": len(arrays) - 1}
    arrays.append(np.array(arg))
    return {"array": len(arrays) - 1, "scalar": np.ndim(arg) == 0}
