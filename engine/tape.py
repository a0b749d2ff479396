"""The tape of a session: what every op wrote, noted on the device, in a captured graph as in direct launches.

A note has a place of its own, by op and position, so that what is noted does not depend on how many rows a pass has,
and a replay notes under the position that it reads from device memory. Caches are noted where the step wrote them;
partial results of an op are not, as they depend on its kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.arena import Arena
from engine.device import DeviceError, Stream
from engine.launch_log import Launch
from engine.ops.tape import tape, tape_cached
from engine.points import Namer, Point, Value, partial
from engine.watch import Watch, Watched, Watcher

POINTS = 40  # of a layer, at most
RING = 1024  # positions that are kept at least, if the context has as many


@dataclass(frozen=True, kw_only=True)
class TapedOp:
    """A value that is noted."""

    point: Point
    width: int  # elements of a row
    kernels: tuple[str, ...]  # that made it, one or more of them for each kind of step


@dataclass(frozen=True, kw_only=True, eq=False)
class Notes:
    """What was noted since the last `take`; arrays are (ops, ring), a place without a note has position -1."""

    ops: tuple[TapedOp, ...]  # in the order in which they were first launched
    positions: NDArray[np.int32]
    hashes: NDArray[np.uint64]  # as reference.ops.tape has them
    tops: NDArray[np.uint32]
    nans: NDArray[np.uint32]


class Tape:
    """Implements engine.launch_log.Follower. `watch`: a value whose op is to be kept with its inputs."""

    def __init__(self, *, watch: Watch | None = None) -> None:
        self._watcher = Watcher(watch) if watch is not None else None
        self._namer = Namer()
        self._ops: dict[Point, int] = {}
        self._widths: dict[Point, int] = {}
        self._kernels: dict[Point, list[str]] = {}
        self._pending: list[Launch] = []

    def plan(self, arena: Arena, *, layers: int, context: int, rows: int) -> None:
        """Name the tape's buffers, after all others."""
        ops, self.ring = POINTS * (layers + 1), min(context, max(rows, RING))
        if self._watcher is not None:
            self._watcher.plan(arena)
        arena.plan("tape_hashes", (ops, self.ring), np.int64)
        arena.plan("tape_notes", (ops, self.ring, 3), np.int32)

    def attach(self, arena: Arena) -> None:
        """Take the allocated buffers."""
        self._position, self._hashes, self._notes = arena["position"], arena["tape_hashes"], arena["tape_notes"]
        self._notes.fill(0xFF)
        if self._watcher is not None:
            self._watcher.attach(arena)

    def follow(self, stream: Stream, launch: Launch) -> None:
        """Issue a launch and note what it wrote. One that leaves partial results waits for the one that uses them."""
        self._pending.append(launch)
        if partial(launch):
            return
        op, self._pending = self._pending, []
        values = self._namer.values(op)
        if self._watcher is not None:
            self._watcher.issue(stream, op, values)
        else:
            for one in op:
                one.issue(stream)
        for value in values:
            self._note(stream, value)
            self._describe(value, " + ".join(one.kernel for one in op))

    def take(self) -> Notes:
        """Read the notes and forget them."""
        count = len(self._ops)
        notes = np.asarray(self._notes.rows(0, count).read(), np.int32)
        hashes = np.asarray(self._hashes.rows(0, count).read(), np.int64)
        self._notes.fill(0xFF)
        return Notes(
            ops=tuple(
                TapedOp(point=point, width=self._widths[point], kernels=tuple(self._kernels[point]))
                for point in self._ops
            ),
            positions=notes[..., 0],
            hashes=hashes.view(np.uint64),
            tops=notes[..., 1].view(np.uint32),
            nans=notes[..., 2].view(np.uint32),
        )

    def watched(self) -> Watched | None:
        """What was kept of the watched op; None if no step has made it."""
        return self._watcher.result() if self._watcher is not None else None

    def _describe(self, value: Value, kernels: str) -> None:
        shape = value.buffer.shape
        self._widths[value.point] = shape[0] * shape[2] if value.cached else math.prod(shape[1:])
        known = self._kernels.setdefault(value.point, [])
        if kernels not in known:
            known.append(kernels)

    def _note(self, stream: Stream, value: Value) -> None:
        number = self._ops.setdefault(value.point, len(self._ops))
        if number >= self._hashes.shape[0]:
            raise DeviceError(
                f"tape: room for {self._hashes.shape[0]} values of a step, none is left for {value.point}"
            )
        if value.cached:
            tape_cached(
                stream, value.buffer, self._position, rows=value.rows, op=number, hashes=self._hashes, notes=self._notes
            )
        else:
            tape(
                stream, value.buffer, self._position, op=number, first=value.first, hashes=self._hashes,
                notes=self._notes,
            )  # fmt: skip
