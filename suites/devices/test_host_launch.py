"""A launch is checked against the kernel it is for; what does not fit is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from engine.device import DeviceError, LaunchError
from engine.devices.host import HostDevice
from suites.conftest import TEST_KERNELS


@pytest.fixture(scope="module")
def host() -> Iterator[HostDevice]:
    opened = HostDevice(kernel_dirs=(TEST_KERNELS,))
    yield opened
    opened.close()


def test_every_kind_of_argument_arrives(host: HostDevice) -> None:
    out = host.alloc((5,), np.int64, "out")
    scalars = (np.int32(-5), np.uint32(2**32 - 2), np.int64(-(2**40)), np.float32(1.5))
    host.stream().launch("sound", "every_argument", grid=1, block=32, args=(out, None, *scalars))
    assert out.read().tolist() == [1, -5, 2**32 - 2, -(2**40), 0x3FC00000]


WRONG_ARGUMENTS: dict[str, tuple[int, Any, str]] = {
    "host array": (1, np.zeros(4, np.float32), "argument 1 is a pointer to const, ndarray given"),
    "scalar for pointer": (0, np.int32(0), "argument 0 is a pointer, int32 given"),
    "python int": (2, 3, "argument 2 is int32, int given"),
    "python float": (5, 1.0, "argument 5 is float32, float given"),
    "float for int": (2, np.float32(3), "argument 2 is int32, float32 given"),
    "int for float": (5, np.int32(3), "argument 5 is float32, int32 given"),
    "too wide": (2, np.int64(3), "argument 2 is int32, int64 given"),
    "too narrow": (4, np.int32(3), "argument 4 is int64, int32 given"),
    "other sign": (3, np.int32(3), "argument 3 is uint32, int32 given"),
    "pointer for scalar": (2, None, "argument 2 is int32, NoneType given"),
}


@pytest.mark.parametrize("what", WRONG_ARGUMENTS)
def test_wrong_argument(host: HostDevice, what: str) -> None:
    out = host.alloc((5,), np.int64, "out")
    args: list[Any] = [out, None, np.int32(0), np.uint32(0), np.int64(0), np.float32(0)]
    index, value, message = WRONG_ARGUMENTS[what]
    args[index] = value
    with pytest.raises(LaunchError, match=f"^sound.every_argument: {message}$"):
        host.stream().launch("sound", "every_argument", grid=1, block=32, args=args)
    assert (out.read() == -1).all()


def test_wrong_count(host: HostDevice) -> None:
    with pytest.raises(LaunchError, match=r"sound.every_argument: 1 arguments given, the kernel has 6"):
        host.stream().launch("sound", "every_argument", grid=1, block=32, args=(None,))


def test_shared_memory_as_large_as_the_device_is_told() -> None:
    device = HostDevice(shared_limit=227 * 1024, kernel_dirs=(TEST_KERNELS,))
    out = device.alloc((1,), np.int32, "out")
    device.stream().launch("sound", "much_shared", grid=1, block=32, args=(out,), shared=187 * 1024)
    with pytest.raises(LaunchError, match="at most 232448"):
        device.stream().launch("sound", "much_shared", grid=1, block=32, args=(out,), shared=187 * 1024 + 1)
    device.close()
    for wrong in (0, 227 * 1024 + 1):
        with pytest.raises(DeviceError, match=f"{wrong} bytes of shared memory, expected 1 .. 232448"):
            HostDevice(shared_limit=wrong)


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"grid": 0}, "grid 0, expected 1"),
        ({"grid": 2**31}, "grid 2147483648"),
        ({"block": 0}, "block 0"),
        ({"block": 48}, "block 48, expected a multiple of 32 up to 1024"),
        ({"block": 1056}, "block 1056"),
        ({"shared": -1}, "-1 [+] 40960 bytes of shared memory"),
        ({"shared": 60417}, r"60417 [+] 40960 bytes of shared memory \(dynamic [+] static\), at most 101376"),
    ],
)
def test_geometry(host: HostDevice, geometry: dict[str, int], message: str) -> None:
    out = host.alloc((1,), np.int32, "out")
    with pytest.raises(LaunchError, match=f"sound.much_shared: {message}"):
        host.stream().launch("sound", "much_shared", **{"grid": 1, "block": 32, "args": (out,), **geometry})  # type: ignore[arg-type]


def test_a_device_of_more_shared_memory() -> None:
    roomy = HostDevice(kernel_dirs=(TEST_KERNELS,), shared_limit=227 * 1024)
    out = roomy.alloc((1,), np.int32, "out")
    roomy.stream().launch("sound", "much_shared", grid=1, block=32, args=(out,), shared=60417)
    with pytest.raises(LaunchError, match=r"191489 [+] 40960 bytes of shared memory .* at most 232448"):
        roomy.stream().launch("sound", "much_shared", grid=1, block=32, args=(out,), shared=191489)
    roomy.close()
    with pytest.raises(DeviceError, match=r"^host device: 232449 bytes of shared memory, expected 1 .. 232448$"):
        HostDevice(shared_limit=232449)


def test_all_of_shared_memory(host: HostDevice) -> None:
    out = host.alloc((1,), np.int32, "out")
    host.stream().launch("sound", "much_shared", grid=1, block=1024, args=(out,), shared=8192)
    assert int(out.read()[0]) == 3 * 1023


def test_unknown_names(host: HostDevice) -> None:
    with pytest.raises(DeviceError, match=r"module nowhere: no kernel file nowhere.cu"):
        host.stream().launch("nowhere", "f", grid=1, block=32, args=())
    with pytest.raises(LaunchError, match=r"sound.f: no such kernel; sound.cu has scale_add, row_sums"):
        host.stream().launch("sound", "f", grid=1, block=32, args=())


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_grid_limit(host: HostDevice, limit: int) -> None:
    x = np.arange(1000, dtype=np.float32)
    source, out = host.upload(x, "x"), host.alloc((1000,), np.float32, "out")
    stream = host.stream(grid_limit=limit)
    before = host.statistics()["threads"]
    args = (out, source, source, np.int32(1000), np.float32(2))
    stream.launch("sound", "scale_add", grid=4, block=64, args=args)
    assert np.array_equal(out.read(), 3 * x)
    assert host.statistics()["threads"] - before == 64 * min(limit, 4)


def test_grid_limit_below_one(host: HostDevice) -> None:
    with pytest.raises(DeviceError, match="grid limit 0"):
        host.stream(grid_limit=0)


def test_no_programmatic_launch_here(host: HostDevice) -> None:
    assert host.has_pdl is False
    stream = host.stream(pdl=True)
    with stream.capture() as capture:
        pass
    assert capture.graph.programmatic_edges is None
