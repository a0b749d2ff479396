"""Recordings of launches. Capture runs nothing; a replay is one call into the runtime."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from engine.device import CaptureError, DeviceError
from engine.devices.errors import StaleGraph
from engine.devices.host import native
from engine.devices.host.arguments import Launch

if TYPE_CHECKING:
    from engine.devices.host.stream import HostStream

__all__ = ["HostCapture", "HostGraph", "Launch"]


class HostGraph:
    """See engine.device.Graph. `launches` is the recording, in order."""

    def __init__(self, stream: HostStream, launches: tuple[Launch, ...]) -> None:
        self._stream = stream
        self.launches = launches
        self._nodes = stream.device._nodes(launches)
        self._closed = False

    @property
    def kernels(self) -> int:
        return len(self._nodes[0])

    @property
    def programmatic_edges(self) -> int | None:
        return None

    @property
    def nodes(self) -> list[ctypes.Array[native.Node]]:
        return self._nodes

    def launch(self) -> None:
        """Raises StaleGraph, naming the buffers, if one that it uses was freed."""
        if self._closed:
            raise DeviceError("a closed graph cannot be launched")
        freed = sorted({b.name for launch in self.launches for b in launch.buffers if not b.allocation.alive})
        if freed:
            raise StaleGraph(f"graph uses buffers that were freed after its capture: {', '.join(freed)}")
        self._stream._replay(self)

    def close(self) -> None:
        """Lets go of the buffers."""
        self._closed = True
        self.launches = ()


class HostCapture:
    """See engine.device.Capture. Anything but a launch raises CaptureError and breaks the recording."""

    def __init__(self, stream: HostStream) -> None:
        self._stream = stream
        self._launches: list[Launch] = []
        self._broken: str | None = None
        self._graph: HostGraph | None = None

    @property
    def graph(self) -> HostGraph:
        if self._graph is None:
            raise CaptureError("there is no graph: the capture has not ended, or it failed")
        return self._graph

    def record(self, launch: Launch) -> None:
        self._launches.append(launch)

    def break_off(self, what: str) -> None:
        self._broken = self._broken or what

    def finish(self) -> None:
        if self._broken is not None:
            raise CaptureError(f"the capture is void: {self._broken} was asked for during it")
        self._graph = HostGraph(self._stream, tuple(self._launches))
        self._launches = []  # the graph alone keeps the buffers
