"""The oracle as a side: both forms, with the notes that the engine's tape would hold of the same values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.points import Point
from harness.adapters.diverge.engine_side import point_of
from harness.adapters.diverge.oracle_op import PARTS, Call, Recorder, packed_op, padded, row_of
from harness.adapters.diverge.script import Rows, Script, Seen
from harness.errors import BadCall
from harness.tape import Tape, TapePoint, build_tape
from reference.families import qwen3
from reference.floats import Array
from reference.forms import EXACT, IDEAL, Form
from reference.ops import quantize, tape
from reference.ops.quantize import BLOCK, Quantized

QUANTIZED = ("attention", "swiglu")  # taps that go into matmuls as they are
NORMS = ("attn_norm", "ffn_norm", "output_norm")  # these are quantised before their scale

Tap = Callable[[str, int, Array, int], None]  # name, layer, rows, position of the first


@dataclass(frozen=True, kw_only=True)
class OracleSide:
    """Implements script.Side. `kv` of the exact form; the ideal one rounds no cache."""

    run: str
    script: Script
    kv: str
    ideal: bool = False

    @property
    def form(self) -> Form:
        return IDEAL if self.ideal else EXACT

    def tape(self) -> Tape:
        if self.ideal:
            raise BadCall("ideal is float64 and has no bits in common with another run: give a bound with --ulps N")
        points: dict[str, TapePoint] = {}
        notes: dict[tuple[str, int], tuple[int, int, int]] = {}

        def note(name: str, layer: int, value: NDArray[Any], position: int) -> None:
            point = TapePoint(layer=layer, name=name, width=value.shape[1], made_by=(f"oracle {name}",))
            points.setdefault(point.key, point)
            marks = tape.exact(value)
            for row in range(len(value)):
                notes[point.key, position + row] = (
                    int(marks.hashes[row]), int(marks.tops[row]), int(marks.nans[row]),
                )  # fmt: skip

        self._forward(EXACT, note, note)
        return build_tape(self.script.head(self.run, self.kv), list(points.values()), notes)

    def rows(self) -> Rows:
        found: Rows = {}

        def keep(name: str, layer: int, value: Array, position: int) -> None:
            key = str(Point(layer=layer, name=name))
            with np.errstate(over="ignore"):
                found.update(((key, position + i), row.astype(np.float32)) for i, row in enumerate(value))

        self._forward(self.form, keep, None)
        return found

    def look(self, key: str, position: int) -> Seen | None:
        return _Look(self, key, position).seen()

    def _forward(
        self, form: Form, tap: Tap, extra: Tap | None, *, tapped: Callable[[Array], None] | None = None
    ) -> None:
        """The script through a form; `extra` gets caches and 8-bit values besides, where a tap has made them."""
        model, ids = self.script.model, self.script.ids
        normed: list[Quantized] = []  # of the norm that is tapped next, where a matmul asks for it

        def norm_quantize(*args: Any, **named: Any) -> Quantized | None:
            made = form.rms_norm_quantize(*args, **named)
            normed[:] = [] if made is None else [made]
            return made

        cache = qwen3.new_cache(model, len(ids), kv=self.kv, form=self.form)
        for position, tokens in self.script.passes():

            def see(name: str, layer: int, value: Array, position: int = position, rows: int = len(tokens)) -> None:
                if extra is not None and name == "attention":
                    for part, whole in (("keys", cache.keys[layer]), ("values", cache.values[layer])):
                        written = whole[:, position : position + rows].swapaxes(0, 1).reshape(rows, -1)
                        extra(part, layer, written, position)
                tap(name, layer, value.reshape(rows, -1), position)
                if extra is not None:
                    for eight_bit in _eight_bit(name, value, normed):
                        for part in PARTS:
                            extra(f"{name}.{part}", layer, padded(getattr(eight_bit, part), part), position)
                if tapped is not None:
                    tapped(value)

            noting = replace(form, rms_norm_quantize=norm_quantize)
            qwen3.forward(model, tokens, cache, form=noting, tap=see)


def _eight_bit(name: str, value: Array, normed: list[Quantized]) -> list[Quantized]:
    """The 8-bit form of a tap that has one; that of a norm is taken out of `normed`."""
    if name in NORMS:
        return [normed.pop()] if normed else []
    return [quantize.exact(value)] if name in QUANTIZED and value.shape[-1] % BLOCK == 0 else []


class _Look:
    """A run that keeps the op of one value."""

    def __init__(self, side: OracleSide, key: str, position: int) -> None:
        self._side = side
        self._point, self._position = point_of(key), position
        stem, _, part = self._point.name.partition(".")
        self._tap, self._part = ("v" if stem in ("keys", "values") else stem), part
        self._layer = -1
        self._seen: Seen | None = None
        self._recorder = Recorder(side.form, self._append)

    def seen(self) -> Seen | None:
        self._side._forward(self._recorder.form, self._see, None, tapped=self._recorder.tapped)
        return self._seen

    def _append(self, call: Call) -> None:
        """kv_append is the op of keys and values; nothing is known of its layer but what was tapped before."""
        start, rows = call.args[2], len(call.args[0])
        name = self._point.name
        if name in ("keys", "values") and self._layer == self._point.layer and self._has(start, rows):
            op = packed_op(self._side.form.name, [call], part=name, row=self._position)
            self._seen = Seen(row=op.again(Path()), op=op)

    def _see(self, name: str, layer: int, value: Array, position: int) -> None:
        self._layer = layer
        wanted = Point(layer=layer, name=name) == Point(layer=self._point.layer, name=self._tap)
        if wanted and self._has(position, len(value)) and self._point.name not in ("keys", "values"):
            self._keep(value, self._position - position)
        if name in ("embedding", "attn_residual", "ffn_residual"):
            self._recorder.forget()

    def _keep(self, value: Array, row: int) -> None:
        calls = self._recorder.made(value)
        if self._part and self._tap in NORMS:
            calls = [self._recorder.last("rms_norm_quantize")]
        elif self._part:
            calls = [Call(op="quantize", args=(value,), named={}, out=EXACT.quantize(value))]
        op = packed_op(self._side.form.name, calls, part=self._part, row=row)
        self._seen = Seen(row=row_of(calls[-1].out if self._part else value, self._part, row), op=op)

    def _has(self, start: int, rows: int) -> bool:
        return start <= self._position < start + rows
