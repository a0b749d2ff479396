"""What a launch leaves behind, under the names that the taps of a family page have.

Fused or not, in a graph or not, what a buffer holds after a launch has one name: that of the tap whose value it is,
with ".codes", ".scales" and ".sums" for its 8-bit form. So launches of different kernels can be compared.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeGuard

from engine.device import Buffer, KernelArgument
from engine.launch_log import Launch

CACHES = ("keys", "values")

# How many leading arguments a kernel writes, by the start of its name; the longest that fits counts, 1 where none does.
_OUTPUTS = {
    "advance": 4,
    "argmax": 3,
    "attention_combine_quantize": 3,
    "attention_split": 3,
    "attention_step": 10,
    "heads_append": 3,
    "kv_append": 2,
    "matmul_group": 3,
    "matmul_residual": 5,
    "matmul_swiglu": 3,
    "quantize": 3,
    "rms_norm_quantize": 3,
    "swiglu_quantize": 3,
}
_PRODUCTS = {
    "attn_q": "q", "attn_k": "k", "attn_v": "v", "ffn_gate": "gate", "ffn_up": "up", "ffn_down": "down",
    "output": "logits", "token_embd": "logits",
}  # fmt: skip
_RESIDUALS = {"attn_output": "attn_residual", "ffn_down": "ffn_residual", "down": "ffn_residual"}
_MADE = {  # not from a source
    "attention": "attention", "attention_step": "attention", "matmul_swiglu": "swiglu", "swiglu_quantize": "swiglu",
}  # fmt: skip
_ROTATED = {"qk_norm": "_norm", "rope": "_rope", "heads_append": "_rope"}
_QUANTIZED = ("codes", "scales", "sums")
_NUMBERED = re.compile(r"^(?:blk|keys|values)\.(\d+)")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a step: a tap's name and its layer, -1 outside the layers."""

    layer: int
    name: str

    def __str__(self) -> str:
        return self.name if self.layer < 0 else f"{self.layer}.{self.name}"


@dataclass(frozen=True, kw_only=True)
class Value:
    """A point in a buffer. Row 0 of its `rows` is row `first` of the step; a cache has them at their positions."""

    point: Point
    buffer: Buffer
    rows: int
    first: int

    @property
    def cached(self) -> bool:
        return self.point.name in CACHES


def outputs(kernel: str) -> int:
    """How many leading arguments a kernel writes."""
    fitting = [prefix for prefix in _OUTPUTS if kernel.startswith(prefix)]
    return _OUTPUTS[max(fitting, key=len)] if fitting else 1


def in_place(kernel: str) -> bool:
    """Whether a kernel reads what it writes without taking it a second time."""
    return kernel.startswith(("rope", "heads_append"))


def written(launch: Launch) -> list[Buffer]:
    """The buffers that a launch writes."""
    return _buffers(launch.args[: outputs(launch.kernel)])


def read(launch: Launch) -> list[Buffer]:
    """The other buffers that it takes."""
    return _buffers(launch.args[outputs(launch.kernel) :])


def partial(launch: Launch) -> bool:
    """Whether it leaves nothing but partial results of an op, which the next launch makes a value of."""
    return all(scratch(buffer.name) for buffer in written(launch))


def scratch(name: str) -> bool:
    """Whether a buffer holds partial results between the launches of one op: engine.ops.attention names them."""
    return name.startswith("split_")


def constant(buffer: Buffer) -> bool:
    """Whether no step writes it: weights and tables."""
    return buffer.name in ("cos", "sin") or buffer.name.endswith((".weight", ".bias"))


class Namer:
    """Follows the launches of a session and knows what each buffer holds."""

    def __init__(self) -> None:
        self._holds: dict[str, Point] = {}
        self._stream_start = 0  # the address of row 0 of the residual stream
        self._head_first = 0  # the row that the head began with
        self._layer = -1

    def values(self, op: Sequence[Launch]) -> list[Value]:
        """What the launches of one op leave, in the order of its last launch's arguments.

        Empty where that belongs to no tap, as the chosen token does.
        """
        inputs, outs = [buffer for launch in op for buffer in read(launch)], written(op[-1])
        points = self._points(op[-1].module, [buffer.name for buffer in inputs], [out.name for out in outs])
        self._holds.update((out.name, point) for out, point in zip(outs, points, strict=True))
        self._find_rows(points[0].name, inputs, outs[0])
        appended = next((buffer.shape[0] for buffer in inputs if buffer.name == "v"), 0)
        return [
            Value(
                point=point,
                buffer=out,
                rows=appended if point.name in CACHES else out.shape[0],
                first=self._head_first if point.name.startswith(("output_norm", "logits")) else 0,
            )
            for out, point in zip(outs, points, strict=True)
            if point.name
        ]

    def _points(self, module: str, inputs: Sequence[str], outs: Sequence[str]) -> list[Point]:
        weights = [name for name in inputs if name.endswith(".weight")]
        before = self._held(outs)
        sources = self._held(inputs) or before  # rope has no input but its output
        if len(before) == len(outs) and sources == before and not weights and module not in _ROTATED:
            return before  # changed in place by a kernel that is no op: what it was under the name it had
        layer = self._layer_of(weights[:1] or [*inputs, *outs], sources, bool(weights))
        source = sources[-1].name if sources else ""
        if module == "matmul_residual":
            return [Point(layer=layer, name=_RESIDUALS[_role(weights[0])]), *self._normed(weights[1], outs[1:])]
        roles = [_role(weight) for weight in weights[: len(outs)]] if module == "matmul_group" else []
        roles = roles or [_role(weights[0]) if weights else ""] * len(outs)
        return [
            Point(layer=layer, name=_value_name(module, out, role, source))
            for out, role in zip(outs, roles, strict=True)
        ]

    def _normed(self, weight: str, outs: Sequence[str]) -> list[Point]:
        """Of what matmul_residual leaves for the norm of `weight`: its codes, for the rest lacks a factor."""
        layer = self._layer_of([weight], [], has_weight=True)
        return [Point(layer=layer, name=f"{_role(weight)}.codes" if "codes" in out else "") for out in outs]

    def _find_rows(self, name: str, inputs: Sequence[Buffer], out: Buffer) -> None:
        """A step begins with the embedding of all its rows; its head may be that of the last ones only."""
        if name == "embedding":
            self._stream_start, self._head_first = out.ptr, 0
        x = next((buffer for buffer in inputs if buffer.name == "x"), None)
        if x is not None and name.startswith("output_norm"):
            self._head_first = (x.ptr - self._stream_start) // (x.nbytes // x.shape[0])

    def _layer_of(self, names: Sequence[str], sources: Sequence[Point], has_weight: bool) -> int:
        """Of a launch: as its weight or cache says, else that of its inputs, else that of the launch before it."""
        numbers = [int(found[1]) for name in names if (found := _NUMBERED.match(name))]
        if numbers or has_weight:
            self._layer = numbers[0] if numbers else -1
        else:
            self._layer = max((point.layer for point in sources), default=self._layer)
        return self._layer

    def _held(self, names: Sequence[str]) -> list[Point]:
        return [self._holds[name] for name in names if name in self._holds and self._holds[name].name]


def is_buffer(argument: KernelArgument) -> TypeGuard[Buffer]:
    """Whether a kernel's argument is memory."""
    return hasattr(argument, "ptr")


def _buffers(args: Sequence[KernelArgument]) -> list[Buffer]:
    return [arg for arg in args if is_buffer(arg)]


def _role(weight: str) -> str:
    """blk.3.attn_q.weight is attn_q."""
    return weight.removesuffix(".weight").rpartition(".")[2]


def _value_name(module: str, buffer: str, role: str, source: str) -> str:
    """Of what a launch of `module` leaves in `buffer`; `role` of its weight, `source` its last input."""
    stem, _, part = buffer.removeprefix("normed_").partition(".")
    match stem:
        case "x":
            return "embedding" if module == "embedding" else _RESIDUALS.get(role or source, "")
        case "normed":
            return role
        case "q" | "k":
            return stem + _ROTATED.get(module, "")
        case "attended":
            return "attention"
        case "projected":
            return _PRODUCTS.get(role, role)
        case "gate":
            return "swiglu" if module == "swiglu" else "gate"
        case "v" | "up" | "logits":
            return stem
        case "keys" | "values":
            return stem if part else ""
    if stem in _QUANTIZED:
        made = _MADE.get(module, role or source)
        return f"{made}.{stem}" if made else ""
    return ""
