"""Device memory of the host: what it holds, what guards it, what it counts."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.device import DeviceError, LaunchError
from engine.devices import GuardDamage
from engine.devices.host import HostBuffer, HostDevice
from reference.spec.errors import OutOfMemory
from suites.conftest import TEST_KERNELS


@pytest.fixture(params=["fast", "check"])
def host(request: pytest.FixtureRequest) -> Iterator[HostDevice]:
    opened = HostDevice(mode=request.param, kernel_dirs=(TEST_KERNELS,))
    yield opened
    opened.close()


def _scale(host: HostDevice, out: HostBuffer, x: HostBuffer, n: int) -> None:
    args = (out, x, x, np.int32(n), np.float32(1))
    host.stream().launch("sound", "scale_add", grid=1, block=32, args=args)


def test_fresh_memory_is_poisoned(host: HostDevice) -> None:
    assert np.isnan(host.alloc((100,), np.float32, "x").read()).all()
    assert np.array_equal(host.alloc((3,), np.int8, "y").read(), np.full(3, -1, np.int8))


def test_without_poison() -> None:
    host = HostDevice(poison=False)
    assert not host.alloc((100,), np.float32, "x").read().any()
    host.close()


def test_views_share_memory(host: HostDevice) -> None:
    whole = host.upload(np.arange(24, dtype=np.int32).reshape(6, 4), "x")
    middle = whole.rows(2, 4)
    assert np.array_equal(middle.read(), [[8, 9, 10, 11], [12, 13, 14, 15]])
    assert middle.ptr == whole.ptr + 32
    middle.reshape(4, 2).write(np.zeros((4, 2), np.int32))
    assert np.array_equal(whole.read().sum(axis=1), [6, 22, 0, 0, 70, 86])
    assert whole.rows(6, 6).read().shape == (0, 4)
    for start, stop in ((-1, 2), (0, 7), (3, 2)):
        with pytest.raises(IndexError):
            whole.rows(start, stop)
    with pytest.raises(DeviceError, match="another size"):
        whole.reshape(5, 5)


def test_reading_copies(host: HostDevice) -> None:
    buffer = host.upload(np.zeros(4, np.float32), "x")
    buffer.read()[:] = 1
    assert not buffer.read().any()


@pytest.mark.parametrize("values", [np.zeros(3, np.float32), np.zeros(4, np.float64), np.zeros((2, 2), np.float32)])
def test_write_refuses_another_shape_or_type(host: HostDevice, values: np.ndarray) -> None:
    buffer = host.upload(np.ones(4, np.float32), "x")
    with pytest.raises(DeviceError, match="write to 'x'"):
        buffer.write(values)
    assert buffer.read().all()


def test_used_bytes_come_back(host: HostDevice) -> None:
    before = host.used_bytes()
    buffers = [host.alloc((n,), np.uint8, f"b{n}") for n in (1, 512, 513, 100_000)]
    assert host.used_bytes() - before == 512 + 512 + 1024 + 100_352
    assert host.used_bytes() % host.alignment == 0
    free = host.free_bytes()
    host.free(buffers[3].rows(0, 5))
    assert host.free_bytes() - free == 100_352
    del buffers
    gc.collect()
    assert host.used_bytes() == before, "memory that nobody holds is free"


def test_addresses_are_never_used_again(host: HostDevice) -> None:
    seen = set()
    for _ in range(20):
        buffer = host.alloc((1000,), np.float32, "x")
        assert buffer.ptr % host.alignment == 0
        seen.add(buffer.ptr)
        host.free(buffer)
    assert len(seen) == 20


def test_freed_memory_is_one_stretch(host: HostDevice) -> None:
    """The system allows a process some 65,000 stretches of pages; a test session allocates more often than that."""
    rng = np.random.default_rng(7)

    def stretches() -> int:
        return len(Path("/proc/self/maps").read_text().splitlines())

    kept = [host.alloc((int(rng.integers(1, 9000)),), np.uint8, f"kept {i}") for i in range(8)]
    for buffer in kept:
        buffer.fill(7)
    before = stretches()
    for i in range(400):
        kept.append(host.alloc((int(rng.integers(1, 9000)),), np.uint8, f"{i}"))
        kept[-1].fill(7)
        host.free(kept.pop(int(rng.integers(len(kept)))))
    assert stretches() < before + 60
    for buffer in kept:
        assert (buffer.read() == 7).all()
        host.free(buffer)


def test_out_of_memory_says_how_much() -> None:
    host = HostDevice(limit=4096)
    first = host.alloc((2048,), np.uint8, "first")
    with pytest.raises(OutOfMemory, match="no memory for second: 2560 bytes needed, 2048 free"):
        host.alloc((2049,), np.uint8, "second")
    assert host.used_bytes() == first.nbytes
    host.close()


def test_freed_buffer_is_refused_everywhere(host: HostDevice) -> None:
    out, x = host.alloc((32,), np.float32, "out"), host.upload(np.ones(32, np.float32), "x")
    host.free(x)
    with pytest.raises(DeviceError, match="'x' was freed"):
        x.read()
    with pytest.raises(LaunchError, match="argument 1: buffer 'x' was freed"):
        _scale(host, out, x, 32)
    with pytest.raises(DeviceError, match="freed before"):
        host.free(x)


def test_buffers_belong_to_their_device(host: HostDevice) -> None:
    other = HostDevice()
    with pytest.raises(DeviceError, match="not a buffer of this device"):
        host.free(other.alloc((1,), np.int32, "x"))
    other.close()


@pytest.mark.parametrize("offset", [-1, -512, 40, 511])
def test_guard_names_the_buffer(host: HostDevice, offset: int) -> None:
    buffer = host.upload(np.zeros(10, np.float32), "victim")
    ctypes.memset(buffer.ptr + offset, 0x33, 1)
    with pytest.raises(GuardDamage, match="'victim'"):
        host.stream().synchronize()
    host.check_guards()


def test_guard_is_no_number(host: HostDevice) -> None:
    """A read past the end poisons what is made of it."""
    word = ctypes.c_uint32.from_address(host.upload(np.zeros(10, np.float32), "x").ptr + 40)
    assert np.isnan(np.array([word.value], np.uint32).view(np.float32)[0])


def test_copy_of_a_guard_is_seen() -> None:
    """An overrun that copies guard onto guard through an addition changes its bits: the guard is a signalling NaN."""
    host = HostDevice(kernel_dirs=(TEST_KERNELS,))
    out, x = host.alloc((32,), np.float32, "out"), host.upload(np.ones(32, np.float32), "x")
    with pytest.raises(
        GuardDamage, match=r"^sound.scale_add: wrote outside a buffer, at . bytes past the end of 'out'"
    ):
        _scale(host, out, x, 33)
    host.close()


def test_view_bounds_are_the_checkers_bounds() -> None:
    host = HostDevice(mode="check", kernel_dirs=(TEST_KERNELS,))
    out, x = host.alloc((4, 32), np.float32, "out"), host.upload(np.ones((4, 32), np.float32), "x")
    _scale(host, out.rows(1, 2), x, 32)
    with pytest.raises(DeviceError, match="out of bounds, 4 bytes at byte 256 of 'out'"):
        _scale(host, out.rows(1, 2), x, 33)
    host.close()


def test_closed_device_is_refused() -> None:
    host = HostDevice()
    buffer, stream = host.alloc((1,), np.int32, "x"), host.stream()
    host.close()
    host.close()
    for action in (buffer.read, stream.synchronize, lambda: host.alloc((1,), np.int32, "y"), host.stream):
        with pytest.raises(DeviceError, match="closed"):
            action()
