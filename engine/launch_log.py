"""A stream that counts what is launched through it, kernel by kernel, replays included.

What a session reports as engaged is read off these counts, not off a flag that the session sets.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from engine.device import Capture, CaptureError, Counters, Device, Graph, KernelArgument, Stream


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A launch as it was asked for."""

    module: str
    kernel: str
    grid: int
    block: int
    args: tuple[KernelArgument, ...]
    shared: int

    def issue(self, stream: Stream) -> None:
        """The same launch again, on any stream of the device."""
        stream.launch(self.module, self.kernel, grid=self.grid, block=self.block, args=self.args, shared=self.shared)


class Follower(Protocol):
    """Sees every launch before it is issued, issues it, and may add launches of its own around it."""

    def follow(self, stream: Stream, launch: Launch) -> None: ...


class LoggedGraph:
    """A graph together with the names of the kernels that were recorded into it."""

    def __init__(self, graph: Graph, kernels: Counter[str], log: LaunchLog) -> None:
        if graph.kernels != kernels.total():
            raise CaptureError(
                f"capture recorded {kernels.total()} launches but the graph holds {graph.kernels} kernels"
            )
        self._graph = graph
        self._kernels = kernels
        self._launches = 0
        log.graphs.append(self)

    @property
    def kernels(self) -> int:
        return self._graph.kernels

    @property
    def programmatic_edges(self) -> int | None:
        return self._graph.programmatic_edges

    def launch(self) -> None:
        self._graph.launch()
        self._launches += 1

    def replayed(self) -> Counter[str]:
        """Kernels that its launches ran, by name."""
        return Counter({name: count * self._launches for name, count in self._kernels.items()})

    def close(self) -> None:
        self._graph.close()


class LoggedCapture:
    graph: LoggedGraph


class LaunchLog:
    """Implements engine.device.Stream over another stream; `direct` and `replayed` count by kernel name.

    With a follower every launch goes through it; what it launches itself does not.
    """

    def __init__(self, stream: Stream, follower: Follower | None = None) -> None:
        self._stream = stream
        self._follower = follower
        self._recording: Counter[str] | None = None
        self._noted: list[Launch] | None = None
        self.direct: Counter[str] = Counter()
        self.graphs: list[LoggedGraph] = []

    @property
    def device(self) -> Device:
        return self._stream.device

    @property
    def stream(self) -> Stream:
        """What the launches go to. Work that is given to it directly is not counted."""
        return self._stream

    @property
    def portable(self) -> bool | None:
        return self._stream.portable

    @property
    def counters(self) -> Counters:
        return self._stream.counters

    @property
    def capturing(self) -> bool:
        return self._recording is not None

    def launch(
        self, module: str, kernel: str, *, grid: int, block: int, args: Sequence[KernelArgument], shared: int = 0
    ) -> None:
        if self._follower is not None:
            self._follow(Launch(module=module, kernel=kernel, grid=grid, block=block, args=tuple(args), shared=shared))
            return
        self._stream.launch(module, kernel, grid=grid, block=block, args=args, shared=shared)
        (self.direct if self._recording is None else self._recording)[kernel] += 1
        if self._noted is not None:
            self._noted.append(
                Launch(module=module, kernel=kernel, grid=grid, block=block, args=tuple(args), shared=shared)
            )

    def _follow(self, launch: Launch) -> None:
        follower, self._follower = self._follower, None
        assert follower is not None
        try:
            follower.follow(self, launch)
        finally:
            self._follower = follower

    @contextmanager
    def noting(self) -> Iterator[list[Launch]]:
        """The launches made meanwhile, in order, those that a capture records included; a replay makes none."""
        noted: list[Launch] = []
        self._noted = noted
        try:
            yield noted
        finally:
            self._noted = None

    def capture(self) -> AbstractContextManager[LoggedCapture]:
        return self._capture()

    @contextmanager
    def _capture(self) -> Iterator[LoggedCapture]:
        logged = LoggedCapture()
        capture: Capture
        self._recording = Counter()
        try:
            with self._stream.capture() as capture:
                yield logged
            logged.graph = LoggedGraph(capture.graph, self._recording, self)
        finally:
            self._recording = None

    def synchronize(self) -> None:
        self._stream.synchronize()

    @property
    def replayed(self) -> Counter[str]:
        return sum((graph.replayed() for graph in self.graphs), Counter[str]())

    def executed(self) -> Counter[str]:
        """Kernels run so far, launched directly or by a replay."""
        return self.direct + self.replayed
