"""A GPU's own time, clock and state, for whoever measures on it. The host device has none: its time is no speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from functools import partial
from types import TracebackType

from engine.device import Device
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.canaries import Canaries
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.timing import SmClock, StreamTimer
from harness.adapters.devices import gpu_facts
from harness.adapters.engine import SessionEngine
from harness.adapters.nvml import GpuMonitor
from harness.sampling import Take
from harness.schema import Gpu, GpuState


class DeviceTimer:
    """Implements protocol.Timer for the work of one stream."""

    def __init__(self, stream: CudaStream, clock: SmClock, monitor: GpuMonitor) -> None:
        self._timer, self._clock, self._monitor = StreamTimer(stream), clock, monitor

    def take(self, work: Callable[[], None]) -> Take:
        issued = 0.0

        def timed() -> None:
            nonlocal issued
            work()
            issued = time.perf_counter()

        self._clock.start()
        start = time.perf_counter()
        milliseconds = self._timer.milliseconds(timed)
        end = time.perf_counter()
        return Take(
            device_us=1e3 * milliseconds,
            host_us=1e6 * (end - start),
            issue_us=1e6 * (issued - start),
            sm_mhz=self._clock.mhz(),
            reasons=self._monitor.reasons(),
            temperature_c=self._monitor.temperature_c(),
        )


class Timing(AbstractContextManager["Timing"]):
    """What a device is measured with. On the host device there are no timers, no canaries and no GPU."""

    def __init__(self, device: Device) -> None:
        self.gpu: Gpu | None = None
        self.state: GpuState | None = None  # when this was opened
        self._stack = ExitStack()
        self._device = device
        if isinstance(device, CudaDevice):
            self.gpu = gpu_facts(device)
            self._monitor = GpuMonitor(self.gpu.uuid)
            self._stack.callback(self._monitor.close)
            self.state = self._monitor.state()
            self._clock = SmClock(device)
            self._stack.callback(self._clock.close)

    def timer(self, engine: SessionEngine) -> DeviceTimer | None:
        """For the work of an engine."""
        stream = engine.session.launches.stream
        return self._timer(stream) if isinstance(stream, CudaStream) else None

    @contextmanager
    def canaries(self) -> Iterator[Mapping[str, tuple[Callable[[], Take], int]]]:
        """By name: a take of it, and the bytes it moves. Their memory is given back at the end."""
        if not isinstance(self._device, CudaDevice):
            yield {}
            return
        with closing(Canaries(self._device)) as canaries:
            timer = self._timer(canaries.stream)
            yield {name: (partial(timer.take, work.run), work.bytes) for name, work in canaries.works().items()}

    def _timer(self, stream: CudaStream) -> DeviceTimer:
        return DeviceTimer(stream, self._clock, self._monitor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
