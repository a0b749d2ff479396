"""One op kept whole as it runs, in a graph too: its launches, all they read, and what they wrote.

Copies are kernels of the step itself, so that a replay makes them; each runs only in the step that is wanted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from engine.arena import Arena
from engine.device import Buffer, Stream
from engine.launch_log import Launch
from engine.ops.tape import tape_copy
from engine.points import Point, Value, constant, is_buffer, read, scratch, written

ALIGNMENT = 16  # of a copy
Scalar = np.int32 | np.uint32 | np.int64 | np.float32 | None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The value of a point at a position."""

    point: Point
    position: int


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldBuffer:
    """A buffer of the op. `before`: what it held when the op began."""

    name: str
    before: NDArray[Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldLaunch:
    """A launch whose buffer arguments are indices into the buffers that are held."""

    module: str
    kernel: str
    grid: int
    block: int
    shared: int
    args: tuple[int | Scalar, ...]  # a plain int is an index


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """The op and its value. The row is `value[row]`, in a cache `value[:, row]`."""

    buffers: tuple[HeldBuffer, ...]
    launches: tuple[HeldLaunch, ...]
    out: int  # index of the buffer with the value
    value: NDArray[Any]  # that buffer after the op
    row: int
    position: int
    cached: bool


@dataclass(kw_only=True)
class _Pass:
    """The op in one step, or in the graph of all one-row steps; `at` has the offsets of the copies."""

    op: Sequence[Launch]
    value: Value
    buffers: dict[int, Buffer] = field(default_factory=dict)  # by address; the largest where several have one
    at: dict[int, int] = field(default_factory=dict)
    after: int = 0


class Watcher:
    """Adds the copies to a session's launches."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._passes: list[_Pass] = []

    def plan(self, arena: Arena) -> None:
        """Room for all other buffers twice: before the op and after."""
        arena.plan("watched", (2 * arena.planned_bytes(),), np.uint8)
        arena.plan("watch_taken", (2,), np.int32)

    def attach(self, arena: Arena) -> None:
        """Take the allocated buffers."""
        self._room, self._taken, self._position = arena["watched"], arena["watch_taken"], arena["position"]
        self._taken.fill(0xFF)

    def issue(self, stream: Stream, op: Sequence[Launch], values: Sequence[Value]) -> None:
        """Issue the launches of an op, with copies around them if it makes the watched value."""
        value = next((value for value in values if value.point == self._watch.point), None)
        if value is not None:
            self._before(stream, op, value)
        for one in op:
            one.issue(stream)
        if value is not None:
            self._copy(stream, value.buffer, self._passes[-1].after)

    def result(self) -> Watched | None:
        """Read the copies; None if the wanted step has not run."""
        mark, position = (int(number) for number in self._taken.read())
        if mark < 0:
            return None
        taken = self._passes[mark]
        place = list(taken.buffers).index
        return Watched(
            buffers=tuple(
                HeldBuffer(name=buffer.name, before=self._content(buffer, taken.at.get(address)))
                for address, buffer in taken.buffers.items()
            ),
            launches=tuple(
                HeldLaunch(
                    module=one.module,
                    kernel=one.kernel,
                    grid=one.grid,
                    block=one.block,
                    shared=one.shared,
                    args=tuple(place(arg.ptr) if is_buffer(arg) else cast(Scalar, arg) for arg in one.args),
                )
                for one in taken.op
            ),
            out=place(taken.value.buffer.ptr),
            value=self._content(taken.value.buffer, taken.after),
            row=self._watch.position - (0 if taken.value.cached else position + taken.value.first),
            position=self._watch.position,
            cached=taken.value.cached,
        )

    def _before(self, stream: Stream, op: Sequence[Launch], value: Value) -> None:
        """Copy what the op is about to read or overwrite; weights, tables and partial results need no copy."""
        self._passes.append(_Pass(op=op, value=value))
        taken, offset = self._passes[-1], 0
        for buffer in (buffer for one in op for buffer in (*written(one), *read(one))):
            known = taken.buffers.get(buffer.ptr)
            if known is None or known.nbytes < buffer.nbytes:
                taken.buffers[buffer.ptr] = buffer
        for address, buffer in taken.buffers.items():
            if not constant(buffer) and not scratch(buffer.name):
                taken.at[address] = offset
                self._copy(stream, buffer, offset)
                offset += -(-buffer.nbytes // ALIGNMENT) * ALIGNMENT
        taken.after = offset

    def _copy(self, stream: Stream, source: Buffer, offset: int) -> None:
        value = self._passes[-1].value
        tape_copy(
            stream, source, self._position, wanted=self._watch.position, first=value.first, rows=value.rows,
            mark=len(self._passes) - 1, out=self._room.rows(offset, offset + source.nbytes), taken=self._taken,
        )  # fmt: skip

    def _content(self, buffer: Buffer, offset: int | None) -> NDArray[Any]:
        """Of a buffer when it was copied, or now if it was not."""
        if offset is None:
            return buffer.read()
        copied = self._room.rows(offset, offset + buffer.nbytes).read()
        return copied.view(buffer.dtype).reshape(buffer.shape)
