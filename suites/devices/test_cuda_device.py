"""The GPU device alone: memory that the pool accounts for, launches that are checked, ceilings that are plausible."""

from __future__ import annotations

import numpy as np
import pytest

from engine.arena import Arena
from engine.device import DeviceError, LaunchError
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.ceilings import measure_ceilings
from engine.devices.cuda.timing import StreamTimer
from reference.spec.errors import OutOfMemory


def test_used_bytes_are_the_pools_own(cuda: CudaDevice) -> None:
    """Plans, allocations and the allocator agree to the byte, and everything comes back."""
    before = cuda.used_bytes()
    arena = Arena(cuda)
    for i, size in enumerate((1, 511, 512, 513, 100_000, 3_000_000)):
        arena.plan(f"b{i}", (size,), np.uint8)
    arena.allocate()
    rounded = sum(-(-size // 512) * 512 for size in (1, 511, 512, 513, 100_000, 3_000_000))
    assert cuda.used_bytes() - before == arena.memory_bytes() == arena.planned_bytes() == rounded
    assert all(buffer.ptr % 512 == 0 for buffer in arena)
    arena.close()
    assert cuda.used_bytes() == before


def test_a_buffer_that_nobody_holds_is_given_back(cuda: CudaDevice) -> None:
    before = cuda.used_bytes()
    view = cuda.alloc((4, 256), np.float32, "x").rows(1, 2)
    assert cuda.used_bytes() == before + 4096
    del view
    assert cuda.used_bytes() == before


def test_views_share_memory(cuda: CudaDevice) -> None:
    values = np.arange(24, dtype=np.float32).reshape(4, 6)
    buffer = cuda.upload(values, "x")
    assert np.array_equal(buffer.rows(1, 3).read(), values[1:3])
    assert np.array_equal(buffer.reshape(2, 12).rows(1, 2).read(), values.reshape(2, 12)[1:])
    buffer.rows(2, 3).write(np.full((1, 6), 7, np.float32))
    values[2] = 7
    assert np.array_equal(buffer.read(), values)
    for start, stop in ((-1, 2), (2, 5), (3, 2)):
        with pytest.raises(IndexError):
            buffer.rows(start, stop)
    with pytest.raises(DeviceError):
        buffer.reshape(5, 5)


def test_writes_are_checked(cuda: CudaDevice) -> None:
    buffer = cuda.alloc((4,), np.float32, "x")
    for wrong in (np.zeros(3, np.float32), np.zeros(4, np.float64), np.zeros((1, 4), np.float32)):
        with pytest.raises(DeviceError, match="'x'"):
            buffer.write(wrong)
    with pytest.raises(DeviceError, match="256"):
        buffer.fill(256)


def test_freed_memory_is_not_used_again_by_mistake(cuda: CudaDevice) -> None:
    buffer = cuda.alloc((256,), np.float32, "x")
    view = buffer.rows(0, 8)
    cuda.free(view)
    with pytest.raises(DeviceError, match="freed"):
        buffer.read()
    with pytest.raises(DeviceError, match="freed before"):
        cuda.free(buffer)
    with pytest.raises(LaunchError, match="freed"):
        cuda.stream().launch("ceilings", "read_all", grid=1, block=256, args=(buffer, buffer, np.int64(0)))


def test_too_little_memory_is_said_before_any_is_taken(cuda: CudaDevice) -> None:
    before, free = cuda.used_bytes(), cuda.free_bytes()
    with pytest.raises(OutOfMemory) as raised:
        cuda.alloc((free + 2**30,), np.uint8, "too much")
    assert f"{(free + 2**30) / 2**20:,.0f} MiB" in str(raised.value)
    assert "are free" in str(raised.value)
    assert cuda.used_bytes() == before


@pytest.mark.parametrize(
    ("module", "kernel", "change", "said"),
    [
        ("ceilings", "absent", {}, "no kernel of that name"),
        ("ceilings", "read_all", {"block": 2048}, "block 2048"),
        ("ceilings", "read_all", {"block": 33}, "block 33"),
        ("ceilings", "read_all", {"grid": 0}, "grid of 0"),
        ("ceilings", "read_all", {"shared": 256 * 1024}, "shared memory"),
        ("ceilings", "read_all", {"args": (None, None)}, "2 arguments, the kernel takes 3"),
        ("ceilings", "read_all", {"args": (None, None, np.int32(0))}, "argument 2 is a int32 of 4 bytes"),
        ("ceilings", "read_all", {"args": (None, None, 0)}, "argument 2 is a int;"),
        ("ceilings", "do_nothing", {"args": (None,)}, "1 arguments, the kernel takes 0"),
    ],
)
def test_launches_are_checked(cuda: CudaDevice, module: str, kernel: str, change: dict[str, object], said: str) -> None:
    stream = cuda.stream()
    call: dict[str, object] = {"grid": 1, "block": 256, "args": (None, None, np.int64(0))} | change
    with pytest.raises(LaunchError, match=said):
        stream.launch(module, kernel, **call)  # type: ignore[arg-type]
    assert stream.counters.launches == 0


def test_unknown_module(cuda: CudaDevice) -> None:
    with pytest.raises(DeviceError, match="absent"):
        cuda.stream().launch("absent", "absent", grid=1, block=32, args=())


def test_arguments_of_every_kind_arrive(cuda: CudaDevice) -> None:
    """A pointer, a null pointer, 64 and 32 bits with and without sign, a float: read back to the last bit."""
    out = cuda.alloc((6,), np.int64, "out")
    odd = np.array([0x80000001], np.uint32).view(np.float32)[0]  # a subnormal
    args = (out, None, np.int64(-(2**63) + 1), np.int32(-5), np.uint32(2**32 - 3), odd)
    cuda.stream().launch("conformance", "arguments", grid=1, block=32, args=args)
    assert out.read().tolist() == [0, -(2**63) + 1, -5, 2**32 - 3, 0x80000001, 1]


def test_a_limited_stream_launches_fewer_blocks(cuda: CudaDevice) -> None:
    out = cuda.alloc((6,), np.int64, "out")
    args = (out, None, np.int64(0), np.int32(0), np.uint32(0), np.float32(0))
    for limit, blocks in ((None, 7), (3, 3), (132, 7)):
        cuda.stream(grid_limit=limit).launch("conformance", "arguments", grid=7, block=32, args=args)
        assert out.read()[5] == blocks


def test_a_read_waits_for_the_kernels_before_it(cuda: CudaDevice) -> None:
    tiles = cuda.multiprocessors * 8 * 8
    out = cuda.alloc((tiles,), np.int32, "out")
    stream = cuda.stream()
    args = (out, np.int32(tiles), np.int32(20000), np.uint32(2))
    out.fill(0xFF)
    stream.launch("ceilings", "mma_peak", grid=cuda.multiprocessors * 8, block=256, args=args)
    first = out.read()
    out.fill(0xFF)
    stream.launch("ceilings", "mma_peak", grid=cuda.multiprocessors * 8, block=256, args=args)
    stream.synchronize()
    assert np.array_equal(first, out.read())
    assert np.count_nonzero(first == -1) < tiles // 100


def test_timing_counts_the_gpus_own_time(cuda: CudaDevice) -> None:
    stream = cuda.stream()
    out = cuda.alloc((1,), np.int32, "out")
    timer = StreamTimer(stream)

    def work(rounds: int) -> None:
        args = (out, np.int32(1), np.int32(rounds), np.uint32(2))
        stream.launch("ceilings", "mma_peak", grid=1, block=256, args=args)

    work(1)
    short, long = (timer.milliseconds(lambda n=n: work(n)) for n in (20_000, 200_000))  # type: ignore[misc]
    assert 0 < short < long / 3


def test_ceilings(cuda: CudaDevice) -> None:
    before = cuda.used_bytes()
    found = measure_ceilings(cuda)
    for measured in (
        found.read_bytes_per_s,
        found.int8_operations_per_s,
        found.float32_operations_per_s,
        found.node_s,
    ):
        assert 0 < measured.low <= measured.median <= measured.high
    assert 1e11 < found.read_bytes_per_s.median < 2e13
    assert 1e13 < found.int8_operations_per_s.median < 1e16
    assert 1e12 < found.float32_operations_per_s.median < found.int8_operations_per_s.median
    assert 1e-7 < found.node_s.median < 1e-4
    assert (found.node_pdl_s is not None) == cuda.has_pdl
    if found.node_pdl_s is not None:
        assert found.node_pdl_s.median < found.node_s.median
    assert cuda.used_bytes() == before
