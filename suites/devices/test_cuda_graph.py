"""Capture on the GPU: what is recorded, what is refused, and that a stream survives both."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest

from engine.device import CaptureError, DeviceError
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.memory import CudaBuffer
from engine.devices.cuda.stream import CudaCapture, CudaStream
from engine.devices.errors import StaleGraph

COUNT = 1000


def _double(stream: CudaStream, out: CudaBuffer, values: CudaBuffer) -> None:
    """Row 0 of `out` is values + values: one kernel that can be told from another by its result."""
    args = (out, values, values, values, np.int32(COUNT))
    stream.launch("conformance", "float_operations", grid=4, block=256, args=args)


def _chain(stream: CudaStream, rows: CudaBuffer, length: int) -> None:
    """Each link reads what the one before wrote: rows[i + 1] starts with rows[i] + rows[i]."""
    for i in range(length):
        _double(stream, rows.rows(i + 1, i + 2), rows.rows(i, i + 1))


@pytest.fixture
def rows(cuda: CudaDevice) -> CudaBuffer:
    """(links + 1, 7, COUNT); link i writes 7 rows, of which the next reads the first."""
    buffer = cuda.alloc((33, 7, COUNT), np.float32, "rows")
    buffer.fill(0xFF)
    buffer.rows(0, 1).write(np.tile(np.arange(1, COUNT + 1, dtype=np.float32), (1, 7, 1)))
    return buffer


@pytest.mark.parametrize("pdl", [False, True])
def test_a_graph_holds_its_launches_and_gives_their_bits(cuda: CudaDevice, rows: CudaBuffer, pdl: bool) -> None:
    stream = cuda.stream(pdl=pdl)
    with stream.capture() as capture:
        _chain(stream, rows, 20)
    graph = capture.graph
    assert np.isnan(rows.rows(1, 21).read()).all()  # recorded, not run
    assert graph.kernels == 20
    assert graph.programmatic_edges == (19 if pdl else 0) or not cuda.has_pdl
    assert (stream.counters.launches, stream.counters.graph_launches, stream.counters.graph_kernels) == (0, 0, 0)
    graph.launch()
    graph.launch()
    assert (stream.counters.launches, stream.counters.graph_launches, stream.counters.graph_kernels) == (0, 2, 40)
    replayed = rows.read()
    rows.rows(1, 33).fill(0xFF)
    _chain(stream, rows, 20)
    assert stream.counters.launches == 20
    assert replayed.tobytes() == rows.read().tobytes()
    assert replayed[20, 0, 0] == 2.0**20
    graph.close()


def test_programmatic_launch_keeps_the_order_of_writes(cuda: CudaDevice, rows: CudaBuffer) -> None:
    """A thousand replays of a dependent chain: a kernel that ran ahead would read what is not there yet."""
    stream = cuda.stream(pdl=True)
    with stream.capture() as capture:
        _chain(stream, rows, 32)
    expected = np.float32(2.0**32) * np.arange(1, COUNT + 1, dtype=np.float32)
    for _ in range(20):
        rows.rows(1, 33).fill(0xFF)
        for _ in range(50):
            capture.graph.launch()
        assert np.array_equal(rows.rows(32, 33).read()[0, 0], expected)
    capture.graph.close()


def _record(stream: CudaStream, body: Callable[[], object], captures: list[CudaCapture] | None = None) -> None:
    with stream.capture() as capture:
        if captures is not None:
            captures.append(capture)
        body()


Misuse = Callable[[CudaDevice, CudaStream, CudaBuffer], object]
MISUSES: dict[str, Misuse] = {
    "read": lambda device, stream, buffer: buffer.read(),
    "write": lambda device, stream, buffer: buffer.write(np.zeros(buffer.shape, np.float32)),
    "fill": lambda device, stream, buffer: buffer.fill(0),
    "allocation": lambda device, stream, buffer: device.alloc((4,), np.float32, "new"),
    "upload": lambda device, stream, buffer: device.upload(np.zeros(4), "new"),
    "free": lambda device, stream, buffer: device.free(buffer),
    "synchronisation": lambda device, stream, buffer: stream.synchronize(),
    "second capture": lambda device, stream, buffer: device.stream().capture().__enter__(),
}


@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("misuse", MISUSES.values(), ids=MISUSES.keys())
def test_what_is_no_launch_voids_a_capture(cuda: CudaDevice, rows: CudaBuffer, misuse: Misuse, swallowed: bool) -> None:
    """Also where the caller catches the error: there is no graph then, and the stream goes on."""
    stream = cuda.stream(pdl=True)
    used = cuda.used_bytes()
    captures: list[CudaCapture] = []

    def body() -> None:
        _chain(stream, rows, 2)
        with pytest.raises(CaptureError) if swallowed else nullcontext():
            misuse(cuda, stream, rows)

    with pytest.raises(CaptureError):
        _record(stream, body, captures)
    with pytest.raises(CaptureError, match="no graph"):
        _ = captures[0].graph
    assert cuda.used_bytes() == used
    _assert_usable(stream, rows)


def _assert_usable(stream: CudaStream, rows: CudaBuffer) -> None:
    _chain(stream, rows, 1)
    stream.synchronize()
    assert rows.read()[1, 0, 1] == 4
    with stream.capture() as capture:
        _chain(stream, rows, 3)
    capture.graph.launch()
    assert rows.read()[3, 0, 1] == 16
    capture.graph.close()


def test_a_graph_is_not_launched_into_a_capture(cuda: CudaDevice, rows: CudaBuffer) -> None:
    stream = cuda.stream()
    with stream.capture() as first:
        _chain(stream, rows, 2)
    with pytest.raises(CaptureError):
        _record(stream, first.graph.launch)
    assert stream.counters.graph_launches == 0
    _assert_usable(stream, rows)


def test_an_error_of_the_callers_ends_the_capture(cuda: CudaDevice, rows: CudaBuffer) -> None:
    stream = cuda.stream()

    def body() -> None:
        _chain(stream, rows, 2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _record(stream, body)
    _assert_usable(stream, rows)


def test_misuse_past_the_interface_is_seen(cuda: CudaDevice, rows: CudaBuffer) -> None:
    """CUDA refuses an allocation to a capturing thread; a memset on the stream is recorded, and found in the graph."""
    runtime = cuda.cuda.cupy.cuda.runtime
    stream = cuda.stream()

    def allocate() -> None:
        _chain(stream, rows, 1)
        with pytest.raises(runtime.CUDARuntimeError):
            runtime.malloc(1 << 20)

    with pytest.raises(CaptureError):
        _record(stream, allocate)
    _assert_usable(stream, rows)
    with pytest.raises(CaptureError, match="MEMSET"):
        _record(stream, lambda: runtime.memsetAsync(rows.ptr, 0, 4, stream.raw.ptr))
    _assert_usable(stream, rows)


def test_code_may_be_loaded_during_a_capture(cuda: CudaDevice) -> None:
    """The first launch of a kernel, of a module even, can be one that is recorded."""
    stream = cuda.stream(pdl=True)
    with stream.capture() as capture:
        stream.launch("ceilings", "do_nothing", grid=1, block=32, args=())
    assert capture.graph.kernels == 1
    capture.graph.launch()
    stream.synchronize()


def test_a_graph_keeps_its_buffers(cuda: CudaDevice) -> None:
    before = cuda.used_bytes()
    stream = cuda.stream()
    values = cuda.upload(np.arange(COUNT, dtype=np.float32), "values")
    out = cuda.alloc((7, COUNT), np.float32, "out")
    with stream.capture() as capture:
        _double(stream, out, values)
    del values
    gc.collect()
    capture.graph.launch()
    assert out.read()[0, 3] == 6
    assert cuda.used_bytes() > before + out.nbytes
    capture.graph.close()
    del out, capture
    gc.collect()
    assert cuda.used_bytes() == before


def test_a_graph_whose_buffer_was_freed_is_stale(cuda: CudaDevice, rows: CudaBuffer) -> None:
    stream = cuda.stream()
    with stream.capture() as capture:
        _chain(stream, rows, 2)
    cuda.free(rows)
    with pytest.raises(StaleGraph, match="rows"):
        capture.graph.launch()
    capture.graph.close()
    with pytest.raises(DeviceError, match="closed"):
        capture.graph.launch()


def test_two_streams_have_graphs_of_their_own(cuda: CudaDevice, rows: CudaBuffer) -> None:
    graphs = []
    for pdl, length in ((True, 3), (False, 5)):
        stream = cuda.stream(pdl=pdl)
        with stream.capture() as capture:
            _chain(stream, rows, length)
        graphs.append(capture.graph)
    assert [graph.kernels for graph in graphs] == [3, 5]
    if cuda.has_pdl:
        assert [graph.programmatic_edges for graph in graphs] == [2, 0]
    graphs[1].launch()
    assert rows.read()[5, 0, 0] == 32
