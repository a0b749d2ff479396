"""An in-order queue of launches. On the host a launch has ended when it returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from engine.device import CaptureError, Counters, KernelArgument
from engine.devices.host.arguments import prepare
from engine.devices.host.graph import HostCapture, HostGraph

if TYPE_CHECKING:
    from engine.devices.host.device import HostDevice


class HostStream:
    """See engine.device.Stream."""

    def __init__(self, device: HostDevice, grid_limit: int | None) -> None:
        self._device = device
        self._grid_limit = grid_limit
        self._capture: HostCapture | None = None
        self._launches = self._graph_launches = self._graph_kernels = 0

    @property
    def device(self) -> HostDevice:
        return self._device

    @property
    def capturing(self) -> HostCapture | None:
        return self._capture

    def launch(
        self,
        module: str,
        kernel: str,
        *,
        grid: int,
        block: int,
        args: Sequence[KernelArgument],
        shared: int = 0,
    ) -> None:
        limited = grid if self._grid_limit is None else min(grid, self._grid_limit)
        device = self._device
        launch = prepare(
            device._module(module), kernel, grid=limited, block=block, shared=shared, args=args,
            shared_limit=device.shared_limit,
        )  # fmt: skip
        if self._device.tracing is not None:
            self._device.tracing.append(launch)
            return
        if self._capture is not None:
            self._capture.record(launch)
            return
        self._device._run(self._device._nodes((launch,)), (launch,))
        self._launches += 1

    @contextmanager
    def capture(self) -> Iterator[HostCapture]:
        if self._capture is not None:
            raise CaptureError("this stream is already capturing")
        self._capture = capture = HostCapture(self)
        try:
            yield capture
        finally:
            self._capture = None
        capture.finish()

    def synchronize(self) -> None:
        """All launches have ended already: checks the guard bytes of every buffer."""
        self._device._refuse_during_capture("a synchronisation")
        self._device.check_guards()

    @property
    def portable(self) -> bool | None:
        return None

    @property
    def counters(self) -> Counters:
        return Counters(launches=self._launches, graph_launches=self._graph_launches, graph_kernels=self._graph_kernels)

    def _replay(self, graph: HostGraph) -> None:
        if self._capture is not None:
            self._capture.break_off("a graph launch")
            raise CaptureError("a graph launch cannot be recorded")
        self._device._refuse_during_trace("a graph launch")
        self._device._run(graph.nodes, graph.launches)
        self._graph_launches += 1
        self._graph_kernels += graph.kernels
