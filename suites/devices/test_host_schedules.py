"""One result whatever the order of threads and blocks, the number of workers and the mode."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import DeviceError
from engine.devices.host import HostDevice
from reference.floats import canonical_nan
from suites.conftest import TEST_KERNELS


def _row_sums(x: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """What sound.cu says of row_sums, one addition at a time."""
    chains = np.zeros((len(x), block), np.float32)
    for start in range(0, x.shape[1], block):
        piece = x[:, start : start + block]
        chains[:, : piece.shape[1]] += piece
    lanes = chains.reshape(len(x), -1, 32)
    for mask in (16, 8, 4, 2, 1):
        lanes = lanes + lanes[:, :, np.arange(32) ^ mask]
    total = lanes[:, 0, 0]
    for warp in range(1, lanes.shape[1]):
        total = total + lanes[:, warp, 0]
    return total


@pytest.mark.parametrize(("rows", "n", "block"), [(1, 1, 32), (7, 33, 64), (5, 1000, 256), (3, 2049, 1024)])
def test_sums_with_barriers(host_variant: HostDevice, rows: int, n: int, block: int) -> None:
    x = np.random.default_rng([rows, n]).standard_normal((rows, n)).astype(np.float32)
    source = host_variant.upload(x, "x")
    for grid in (1, 3, 66):
        out = host_variant.alloc((rows,), np.float32, "out")
        args = (out, source, np.int32(rows), np.int32(n))
        host_variant.stream().launch("sound", "row_sums", grid=grid, block=block, args=args)
        assert out.read().tobytes() == _row_sums(x, block).tobytes()


def test_warp_exchanges(host_variant: HostDevice) -> None:
    rows, lane = 9, np.arange(32)
    x = np.random.default_rng(4).integers(-1000, 1000, (rows, 32)).astype(np.int32)
    out = host_variant.alloc((rows, 32, 4), np.int32, "out")
    args = (out, host_variant.upload(x, "x"), np.int32(rows))
    host_variant.stream().launch("sound", "exchanges", grid=2, block=32, args=args)
    got = out.read()
    ballot = ((x & 1).astype(np.uint64) << lane.astype(np.uint64)).sum(axis=1).astype(np.uint32).view(np.int32)
    assert np.array_equal(got[:, :, 0], np.repeat(ballot[:, None], 32, axis=1))
    assert np.array_equal(got[:, :, 1], x[:, np.where(lane < 3, lane, lane - 3)])
    assert np.array_equal(got[:, :, 2], x[:, np.where(lane > 26, lane, lane + 5)])
    assert np.array_equal(got[:, :, 3], np.repeat(x[:, 7:8], 32, axis=1))


def test_atomics(host_variant: HostDevice) -> None:
    x = np.random.default_rng(5).integers(0, 100, 5000).astype(np.int32)
    count = host_variant.upload(np.zeros(1, np.int32), "count")
    args = (count, host_variant.upload(x, "x"), np.int32(x.size))
    host_variant.stream().launch("sound", "count_odd", grid=7, block=128, args=args)
    assert int(count.read()[0]) == np.count_nonzero(x & 1)


def test_many_launches_in_a_graph(host_variant: HostDevice) -> None:
    """Each launch sees what the one before it wrote; workers meet between the nodes."""
    position, trail = (
        host_variant.upload(np.zeros(1, np.int32), "position"),
        host_variant.alloc((60,), np.int32, "trail"),
    )
    stream = host_variant.stream()
    with stream.capture() as capture:
        for _ in range(20):
            stream.launch("sound", "step", grid=1, block=32, args=(position, trail))
    for _ in range(3):
        capture.graph.launch()
    assert np.array_equal(trail.read(), np.arange(60))


def test_orders_are_real() -> None:
    """Threads really run in another order: a sum by float atomics comes out different."""
    x = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)
    sums = set()
    for order, seed in (("in order", 1), ("reverse", 1), ("random", 1), ("random", 2)):
        device = HostDevice(order=order, seed=seed, kernel_dirs=(TEST_KERNELS,))  # type: ignore[arg-type]
        y = device.alloc((8,), np.float32, "y")
        args = (y, device.upload(x, "x"), np.int32(256))
        device.stream().launch("faults", "float_atomics", grid=1, block=256, args=args)
        sums.add(y.read().tobytes())
        device.close()
    assert len(sums) == 4


def test_statistics_count_what_ran(host_variant: HostDevice) -> None:
    x = host_variant.upload(np.zeros(256, np.float32), "x")
    out = host_variant.alloc((256,), np.float32, "out")
    before = host_variant.statistics()
    args = (out, x, x, np.int32(256), np.float32(1))
    host_variant.stream().launch("sound", "scale_add", grid=4, block=64, args=args)
    counted = {name: value - before[name] for name, value in host_variant.statistics().items()}
    assert counted["threads"] == 256
    if host_variant.mode == "check":
        assert (counted["load_bytes"], counted["store_bytes"]) == (2 * 1024, 1024)


def test_one_worker_for_the_checker() -> None:
    with pytest.raises(DeviceError, match="2 workers in mode check"):
        HostDevice(mode="check", workers=2)


def test_cpu_without_special_instructions() -> None:
    """Fused multiply-add and half conversion in software give the bits of the instructions."""
    patterns = np.random.default_rng(6).integers(0, 2**32, (3, 1 << 16), dtype=np.uint32)
    patterns[0, :2048] = np.arange(2048) * 2**12 + 0x38000000  # around the smallest normal and subnormal halves
    halves = np.arange(1 << 16, dtype=np.uint16)
    results = []
    for extensions in (True, False):
        device = HostDevice(cpu_extensions=extensions, kernel_dirs=(TEST_KERNELS,))
        stream, size, n = device.stream(), 1 << 16, np.int32(1 << 16)
        a, b, c = (device.upload(row.view(np.float32), "x") for row in patterns)
        out = device.alloc((7, size), np.float32, "out")
        stream.launch("conformance", "float_operations", grid=4, block=256, args=(out, a, b, c, n))
        widened, narrowed = device.alloc((size,), np.float32, "widened"), device.alloc((size,), np.uint16, "narrowed")
        bits = device.upload(halves, "halves")
        stream.launch("conformance", "half_to_floats", grid=4, block=256, args=(widened, bits, n))
        stream.launch("conformance", "floats_to_half", grid=4, block=256, args=(narrowed, a, n))
        floats = canonical_nan(np.concatenate([out.read().ravel(), widened.read()]))
        number = ~np.isnan(patterns[0].view(np.float32))
        results.append((floats.tobytes(), narrowed.read()[number].tobytes()))
        device.close()
    assert results[0] == results[1]
