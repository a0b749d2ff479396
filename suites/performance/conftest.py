"""Benchmarks in pytest-benchmark's ways (--benchmark-json, --benchmark-compare, ...), kernels by the GPU's own clock.

pytest suites/performance --benchmark-enable --device cuda --benchmark-json kernels.json
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from engine.device import Device, Graph, Stream
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.timing import SmClock, StreamClock
from suites.status import not_applicable

LAUNCHES = 32  # in the graph that is one round: the gap in front of the first is shared by all
ROUNDS = 50
WARM_SECONDS = 1.0

Launch = Callable[[Stream, int], None]


class DeviceBenchmark:
    """Times launches on a GPU: a captured graph of LAUNCHES is one round, and a figure is the time of one of them.

    Without --benchmark-enable it launches once, on any device, so that a benchmark that no longer runs is a failure.
    """

    def __init__(self, device: Device, stream: Stream, benchmark: Any) -> None:
        self._device, self._stream, self._benchmark = device, stream, benchmark

    def __call__(self, launch: Launch, *, bytes_moved: float = 0.0) -> None:
        """`launch(stream, i)` issues launch i of the graph; data that it rotates over by i stays cold."""
        if not self._benchmark.enabled:
            self._benchmark.pedantic(launch, args=(self._stream, 0))
            self._stream.synchronize()
            return
        assert isinstance(self._device, CudaDevice)
        with self._stream.capture() as capture:
            for i in range(LAUNCHES):
                launch(self._stream, i)
        with ExitStack() as stack:
            stack.callback(capture.graph.close)
            clock = SmClock(self._device)
            stack.callback(clock.close)
            self._warm_up(capture.graph)
            clock.start()
            self._benchmark.pedantic(capture.graph.launch, rounds=ROUNDS)
            facts = self._benchmark.extra_info
            facts["device"], facts["sm_mhz"] = self._device.description, clock.mhz()
            if bytes_moved:
                facts["gb_per_s"] = bytes_moved / self._benchmark.stats.stats.median / 1e9

    def _warm_up(self, graph: Graph) -> None:
        start = time.perf_counter()
        while time.perf_counter() - start < WARM_SECONDS:
            graph.launch()
            self._stream.synchronize()


@pytest.fixture
def device_stream(request: pytest.FixtureRequest, device: Device) -> Stream:
    """A stream, whose clock becomes the timer of the test's benchmark. The host device has no clock to offer."""
    stream = device.stream(pdl=device.has_pdl)
    if isinstance(stream, CudaStream):
        timer = StreamClock(stream, per=LAUNCHES)
        request.node.add_marker(pytest.mark.benchmark(timer=timer), append=False)
    elif request.config.getoption("benchmark_enable"):
        not_applicable("device host: an emulated time is not a speed")
    return stream


@pytest.fixture
def device_benchmark(device: Device, device_stream: Stream, benchmark: Any) -> DeviceBenchmark:
    """`device_stream` comes before `benchmark`, which takes the timer that it finds."""
    return DeviceBenchmark(device, device_stream, benchmark)
