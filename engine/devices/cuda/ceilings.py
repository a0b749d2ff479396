"""What this GPU can do at best, measured: memory reads, int8 and float32 products, the cost of a graph node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

from engine.device import DeviceError
from engine.devices.cuda.device import CudaDevice
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.timing import StreamTimer

MODULE = "ceilings"
THREADS = 256  # a block
READ_THREADS = 512  # 4 such blocks a multiprocessor read fastest of some 300 shapes tried on an H200
SLICE_BYTES = READ_THREADS * 4 * 16  # what a block of read_all has in flight
READ_BYTES = 8 * 10**9
CHAINS = 8  # independent tiles a warp works on in mma_peak, and values a thread works on in fma_peak
MMA_OPERATIONS = 2 * 16 * 8 * 32  # of one mma.m16n8k32: a multiplication and an addition each
MMA_ROUNDS = 4096
FMA_ROUNDS = 16384
NODES = 1000
WARM_UP_MS = 300.0
REPEATS = 50


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Repeats of one measurement, in its unit."""

    median: float
    low: float
    high: float
    repeats: int


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """Bounds that no kernel on this machine passes, and what a graph costs by itself."""

    read_bytes_per_s: Measured  # read-only, random data, buffer far larger than the L2 cache
    read_buffer_bytes: int
    int8_operations_per_s: Measured  # mma.sync m16n8k32 out of registers, random operands
    float32_operations_per_s: Measured  # fused multiply-adds out of registers, two operations each
    node_s: Measured  # one kernel node of a chain, one block a multiprocessor, nothing to do
    node_pdl_s: Measured | None  # the same with programmatic edges; None where the GPU has none


def measure_ceilings(device: CudaDevice) -> Ceilings:
    """Takes about three seconds and up to 8 GB of device memory, given back at the end."""
    stream = device.stream()
    buffer_bytes = _read_buffer_bytes(device)
    return Ceilings(
        read_bytes_per_s=_read(device, stream, buffer_bytes),
        read_buffer_bytes=buffer_bytes,
        int8_operations_per_s=_int8(device, stream),
        float32_operations_per_s=_float32(device, stream),
        node_s=_node(device, pdl=False),
        node_pdl_s=_node(device, pdl=True) if device.has_pdl else None,
    )


def _read_buffer_bytes(device: CudaDevice) -> int:
    wanted = min(READ_BYTES, device.free_bytes() // 2)
    if wanted < 8 * device.l2_bytes:
        raise DeviceError(f"ceilings: {wanted} bytes of free memory are too few to measure reads past the L2 cache")
    return wanted // SLICE_BYTES * SLICE_BYTES


def _read(device: CudaDevice, stream: CudaStream, buffer_bytes: int) -> Measured:
    data = device.alloc((buffer_bytes // 16, 4), np.uint32, "ceilings.data")
    total = device.upload(np.zeros(1, np.uint32), "ceilings.sum")
    pieces = np.int64(buffer_bytes // 16)
    grid = device.multiprocessors * 4  # all resident at once, each with its loads in flight
    try:
        stream.launch(MODULE, "fill_random", grid=grid, block=READ_THREADS, args=(data, pieces, np.uint32(1)))
        times = _sample(
            stream, lambda: stream.launch(MODULE, "read_all", grid=grid, block=READ_THREADS, args=(total, data, pieces))
        )
    finally:
        device.free(data)
        device.free(total)
    return _rates(times, float(buffer_bytes))


def _int8(device: CudaDevice, stream: CudaStream) -> Measured:
    grid = device.multiprocessors * 8
    tiles = grid * THREADS // 32
    out = device.alloc((tiles,), np.int32, "ceilings.tiles")
    args = (out, np.int32(tiles), np.int32(MMA_ROUNDS), np.uint32(2))
    try:
        times = _sample(stream, lambda: stream.launch(MODULE, "mma_peak", grid=grid, block=THREADS, args=args))
    finally:
        device.free(out)
    return _rates(times, float(tiles) * MMA_ROUNDS * CHAINS * MMA_OPERATIONS)


def _float32(device: CudaDevice, stream: CudaStream) -> Measured:
    grid = device.multiprocessors * 8
    values = grid * THREADS
    out = device.alloc((values,), np.float32, "ceilings.values")
    args = (out, np.int32(values), np.int32(FMA_ROUNDS), np.uint32(2))
    try:
        times = _sample(stream, lambda: stream.launch(MODULE, "fma_peak", grid=grid, block=THREADS, args=args))
    finally:
        device.free(out)
    return _rates(times, float(values) * FMA_ROUNDS * CHAINS * 2)


def _node(device: CudaDevice, *, pdl: bool) -> Measured:
    stream = device.stream(pdl=pdl)
    with stream.capture() as capture:
        for _ in range(NODES):
            stream.launch(MODULE, "do_nothing", grid=device.multiprocessors, block=THREADS, args=())
    try:
        times = _sample(stream, capture.graph.launch)
    finally:
        capture.graph.close()
    return _measured([time / NODES for time in times])


def _sample(stream: CudaStream, work: Callable[[], None]) -> list[float]:
    """Seconds of each repeat, after a warm-up that brings the clocks up."""
    timer = StreamTimer(stream)
    warm = 0.0
    while warm < WARM_UP_MS:
        warm += timer.milliseconds(work)
    return [timer.milliseconds(work) / 1e3 for _ in range(REPEATS)]


def _rates(seconds: list[float], amount: float) -> Measured:
    return _measured([amount / second for second in seconds])


def _measured(values: list[float]) -> Measured:
    return Measured(median=median(values), low=min(values), high=max(values), repeats=len(values))
