"""The engine as a side: tapes in every mode, in a captured graph too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer, Device
from engine.points import CACHES, Point, in_place, outputs, scratch
from engine.session import Session
from engine.tape import Notes
from engine.toggles import Toggles
from engine.watch import HeldBuffer, HeldLaunch, Watch, Watched
from harness.adapters.devices import opened
from harness.adapters.diverge.op_file import HEADER, npz, scalar, scalar_text
from harness.adapters.diverge.script import Rows, Script, Seen
from harness.errors import BadCall
from harness.store import write_atomically
from harness.tape import Tape, TapePoint, build_tape


def point_of(key: str) -> Point:
    """From a key, as "3.q" or "logits"."""
    layer, dot, name = key.partition(".")
    return Point(layer=int(layer), name=name) if dot and layer.isdigit() else Point(layer=-1, name=key)


@dataclass(frozen=True, kw_only=True)
class EngineSide:
    """Implements script.Side."""

    run: str
    device: str
    toggles: Toggles
    script: Script
    cache: Path

    def tape(self) -> Tape:
        with self._device() as device:
            session, found = self._play(device, None)
            caveats = tuple(
                f"{name} {path.asked} did not engage: {path.reason or path.detail}"
                for name, path in session.engaged().items()
                if path.engaged is False and path.asked != "off"
            )
            session.close()
        return _tape(found, self.script.head(self.run, self.toggles.kv, caveats))

    def rows(self) -> Rows:
        if self.toggles.graph == "on" or self.toggles.fused == "on":
            raise BadCall(f"{self.run}: --ulps needs the values of every tap, which graph=off,fused=off has")
        found: Rows = {}
        start = 0

        def tap(name: str, layer: int, buffer: Buffer) -> None:
            value = np.asarray(buffer.read(), np.float32)
            key = str(Point(layer=layer, name=name))
            found.update(((key, start + i), row.reshape(-1)) for i, row in enumerate(value))

        with self._device() as device:
            session = self._session(device, None, tape="off")
            session.tap = tap
            most = 1 if self.toggles.prefill == "sequential" else session.limits.logit_rows
            for position, tokens in _pieces(self.script, most):
                start = position
                self._give(session, position, tokens)
            session.close()
        return found

    def look(self, key: str, position: int) -> Seen | None:
        with self._device() as device:
            session, _ = self._play(device, Watch(point=point_of(key), position=position))
            assert session.tape is not None
            watched = session.tape.watched()
            session.close()
        if watched is None:
            return None
        return Seen(row=_row(watched.value, watched), op=EngineOp(device=self.device, watched=watched))

    def _device(self) -> AbstractContextManager[Device]:
        return opened(self.device, self.cache)

    def _session(self, device: Device, watch: Watch | None, *, tape: str) -> Session:
        toggles = Toggles.from_mapping({**self.toggles.as_dict(), "tape": tape})
        return Session(device, self.script.model, context=len(self.script.ids), toggles=toggles, watch=watch)

    def _play(self, device: Device, watch: Watch | None) -> tuple[Session, list[Notes]]:
        """The script, the notes taken after every call. Prefill goes in the pieces that the session would make."""
        session = self._session(device, watch, tape="on")
        assert session.tape is not None
        found: list[Notes] = []
        for position, tokens in _pieces(self.script, session.limits.max_batch):
            self._give(session, position, tokens)
            found.append(session.tape.take())
        return session, found

    def _give(self, session: Session, position: int, tokens: NDArray[np.int64]) -> None:
        if position < len(self.script.prefilled):
            session.prefill(tokens, all_logits=True)
        else:
            session.decode(int(tokens[0]))


def _pieces(script: Script, most: int) -> list[tuple[int, NDArray[np.int64]]]:
    return [
        (position + first, tokens[first : first + most])
        for position, tokens in script.passes()
        for first in range(0, len(tokens), most)
    ]


def _tape(found: Sequence[Notes], head: Mapping[str, Any]) -> Tape:
    notes: dict[tuple[str, int], tuple[int, int, int]] = {}
    for part in found:
        for i, op in enumerate(part.ops):
            for slot in np.flatnonzero(part.positions[i] >= 0):
                at = i, slot
                note = int(part.hashes[at]), int(part.tops[at]), int(part.nans[at])
                notes[str(op.point), int(part.positions[at])] = note
    points = [
        TapePoint(layer=op.point.layer, name=op.point.name, width=op.width, made_by=op.kernels) for op in found[-1].ops
    ]
    return build_tape(head, points, notes)


def _row(value: NDArray[Any], op: Watched) -> NDArray[Any]:
    return (value[:, op.row] if op.cached else value[op.row]).reshape(-1)


@dataclass(frozen=True, kw_only=True, eq=False)
class EngineOp:
    """Implements script.SavedOp: launches with the buffers they were made with."""

    device: str
    watched: Watched

    @classmethod
    def from_file(cls, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]]) -> EngineOp:
        """From the header of a file and its arrays behind the row."""
        value, *buffers = arrays
        watched = Watched(
            buffers=tuple(HeldBuffer(name=name, before=b) for name, b in zip(header["buffers"], buffers, strict=True)),
            launches=tuple(
                HeldLaunch(**{**one, "args": tuple(scalar(arg) for arg in one["args"])}) for one in header["launches"]
            ),
            out=header["out"],
            value=value,
            row=header["row"],
            position=header["position"],
            cached=header["cached"],
        )
        return cls(device=header["device"], watched=watched)

    @property
    def text(self) -> str:
        return f"{' + '.join(one.kernel for one in self.watched.launches)} on {self.device}"

    @property
    def inputs(self) -> Mapping[str, NDArray[Any]]:
        """What it reads, caches up to its position."""
        op = self.watched
        read = {arg for one in op.launches for arg in one.args[0 if in_place(one.kernel) else outputs(one.kernel) :]}
        held = {op.buffers[i].name: op.buffers[i].before for i in read if isinstance(i, int)}
        return {
            name: array[:, : op.position + 1] if name.partition(".")[0] in CACHES else array
            for name, array in held.items()
            if not scratch(name)
        }

    def save(self, path: Path, row: NDArray[Any]) -> None:
        op = self.watched
        launches = [
            {
                "module": one.module, "kernel": one.kernel, "grid": one.grid, "block": one.block,
                "shared": one.shared, "args": [scalar_text(arg) for arg in one.args],
            }
            for one in op.launches
        ]  # fmt: skip
        header = {
            **HEADER, "side": "engine", "device": self.device, "launches": launches, "out": op.out, "row": op.row,
            "position": op.position, "cached": op.cached, "buffers": [held.name for held in op.buffers],
        }  # fmt: skip
        write_atomically(path, npz(header, [row, op.value, *(held.before for held in op.buffers)]))

    def again(self, cache: Path) -> NDArray[Any]:
        with opened(self.device, cache) as device:
            buffers = [device.upload(held.before, held.name) for held in self.watched.buffers]
            stream = device.stream()
            for one in self.watched.launches:
                args = [buffers[arg] if isinstance(arg, int) else arg for arg in one.args]
                stream.launch(one.module, one.kernel, grid=one.grid, block=one.block, args=args, shared=one.shared)
            stream.synchronize()
            value = buffers[self.watched.out].read()
            for buffer in buffers:
                device.free(buffer)
        return _row(value, self.watched)
