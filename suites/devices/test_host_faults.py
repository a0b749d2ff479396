"""Faults that no comparison of values need show: each planted one is caught by name, its sound twin passes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.devices import AccessFault, GuardDamage, KernelFault
from engine.devices.host import HostBuffer, HostDevice
from engine.devices.host.toolchain import find_compiler
from suites.conftest import TEST_KERNELS
from suites.status import not_applicable

X = np.random.default_rng(0).standard_normal((4, 256)).astype(np.float32)

# kernel: what each mode says, None where the mode cannot see it
CRASHES = {
    "divergent_barrier": (KernelFault, r"divergent __syncthreads: .* lines \d+ and \d+"),
    "partial_shuffle": (KernelFault, r"deadlock, no thread can run: .* at __syncthreads line \d+; .*mask ffffffff"),
    "shuffle_from_outside": (KernelFault, r"shuffle at line \d+ reads lane 16, which takes no part"),
    "past_the_end": (GuardDamage, r"wrote outside a buffer, at 0 bytes past the end of 'y' \(32 bytes\)"),
    "dynamic_past_the_end": (KernelFault, r"not mapped, at faults.cu:\d+"),
    "null_pointer": (KernelFault, r"access to address 0, which is not mapped, at faults.cu:\d+ \[block 0, thread 0\]"),
    "deep_stack": (KernelFault, r"a thread needs more than \d+ bytes of stack, at (faults.cu|module.h):\d+"),
}
CHECKED = {
    "missing_barrier": r"race: read after write, .* of __shared__ part \(faults.cu:\d+, .* against block 0, thread",
    "missing_loop_barrier": r"race: write after read, .* of __shared__ part \(faults.cu:\d+",
    "lucky_barrier": r"race: read after write, .* of __shared__ s",
    "missing_syncwarp": r"race: read after write, .* of __shared__ s",
    "missing_syncwarp_of_readers": r"race: (read after write|write after read), .* of __shared__ s",
    "past_the_end": r"out of bounds, 4 bytes at 0 bytes past the end of 'y'",
    "far_read": r"access to a buffer that is not an argument, 4 bytes at byte \d+ of 'other'",
    "shared_past_the_end": r"undefined operation .* at faults.cu:",
    "dynamic_past_the_end": r"out of bounds, 4 bytes at dynamic shared memory",
    "uninitialised_shared": r"uninitialised read, .* at byte 0 of __shared__ s",
    "uninitialised_global": r"uninitialised read, .* at byte 0 of 'y'",
    "lost_update": r"race: .* of __shared__ count",
    "block_race": r"race: write after write, .* of 'y' .* block 1, thread 0 against block 0, thread 0",
    "same_value_write": r"race: write after write, .* of 'y'",
    "foreign_local": r"another thread's stack",
    "writes_const": r"write to a const argument, 4 bytes at byte 0 of 'x'",
    "misaligned": r"misaligned|undefined operation",
    "misaligned_vector": r"misaligned|undefined operation",
    "wide_shift": r"undefined operation",
    "writes_before_wait": r"access before pdl_wait to memory that a kernel writes, 4 bytes at byte 0 of 'y'",
    "never_waits": r"no thread executes pdl_wait",
}
ORDERED = ("missing_barrier", "lucky_barrier", "missing_syncwarp", "float_atomics")
KERNELS = sorted({*CRASHES, *CHECKED, *ORDERED})


class Bench:
    """Runs kernels of faults.cu on one device, each on a fresh x that has another buffer beside it."""

    def __init__(self, device: HostDevice) -> None:
        self.device = device
        self.stream = device.stream()

    def run(self, kernel: str) -> NDArray[np.generic]:
        y = self.device.alloc((8,), np.float32, "y")
        x = self.device.upload(X, "x")
        self.beside = self.device.upload(np.zeros(1 << 12, np.float32), "other")
        args = (y, x, np.int32(256))
        self.stream.launch("faults", kernel, grid=2 if "block" in kernel else 1, block=256, args=args, shared=1024)
        return y.read()


@pytest.fixture(scope="module")
def fast() -> Iterator[Bench]:
    device = HostDevice(kernel_dirs=(TEST_KERNELS,))
    yield Bench(device)
    device.close()


@pytest.fixture(scope="module")
def checked() -> Iterator[Bench]:
    device = HostDevice(kernel_dirs=(TEST_KERNELS,), mode="check")
    yield Bench(device)
    device.close()


@pytest.mark.parametrize("kernel", CRASHES)
def test_crash_is_an_error(fast: Bench, kernel: str) -> None:
    error, text = CRASHES[kernel]
    with pytest.raises(error, match=text):
        fast.run(kernel)
    assert fast.run(f"{kernel}_sound").shape == (8,), "the device goes on after a failed kernel"


@pytest.mark.parametrize("kernel", CHECKED)
def test_checker_names_it(checked: Bench, kernel: str) -> None:
    if kernel == "misaligned_vector" and find_compiler(None).is_clang:
        not_applicable("clang loads the elements of a vector one by one, and each of them is aligned")
    with pytest.raises((AccessFault, KernelFault), match=rf"^faults.{kernel}: ") as caught:
        checked.run(kernel)
    lines = caught.value.reports if isinstance(caught.value, AccessFault) else (str(caught.value),)
    assert any(re.search(CHECKED[kernel], line) for line in lines), lines


@pytest.mark.parametrize("kernel", KERNELS)
def test_sound_twin_passes(fast: Bench, checked: Bench, kernel: str) -> None:
    assert fast.run(f"{kernel}_sound").tobytes() == checked.run(f"{kernel}_sound").tobytes()


def _in_orders(kernel: str) -> set[bytes]:
    results = set()
    for options in ({}, {"order": "reverse"}, *({"order": "random", "seed": seed} for seed in range(4))):
        device = HostDevice(kernel_dirs=(TEST_KERNELS,), **options)  # type: ignore[arg-type]
        results.add(Bench(device).run(kernel).tobytes())
        device.close()
    return results


@pytest.mark.parametrize("kernel", ORDERED)
def test_order_of_threads_shows_it(kernel: str) -> None:
    assert len(_in_orders(kernel)) > 1
    assert len(_in_orders(f"{kernel}_sound")) == 1


def test_lost_update_needs_preemption() -> None:
    """A plain read-modify-write is one piece to every schedule; with preemption at accesses updates are really lost."""
    device = HostDevice(kernel_dirs=(TEST_KERNELS,), mode="check", order="random", preempt=4)
    bench = Bench(device)
    x, y = device.upload(X, "x"), device.alloc((8,), np.float32, "y")
    with pytest.raises(AccessFault):
        bench.stream.launch("faults", "lost_update", grid=1, block=256, args=(y, x, np.int32(256)))
    assert float(y.read()[0]) < 256
    assert float(bench.run("lost_update_sound")[0]) == 256
    device.close()


def test_poison_reaches_the_result(fast: Bench) -> None:
    assert np.isnan(fast.run("uninitialised_shared")[0])


def test_reports_belong_to_their_launch(checked: Bench) -> None:
    with pytest.raises(AccessFault) as first:
        checked.run("missing_syncwarp")
    with pytest.raises(AccessFault) as second:
        checked.run("writes_const")
    assert len(first.value.reports) > 1
    assert len(second.value.reports) == 1


def test_read_before_pdl_wait(checked: Bench) -> None:
    """Only what a kernel has written is forbidden: weights may be read ahead, and so they are in the sound twin."""
    stream, device = checked.stream, checked.device
    for kernel, sound in (("reads_before_wait_sound", True), ("reads_before_wait", False)):
        y, x = device.upload(np.zeros(8, np.float32), "y"), device.upload(X, "x")
        args = (y, x, np.int32(256))
        if sound:
            stream.launch("faults", kernel, grid=1, block=256, args=args)
            stream.launch("faults", kernel, grid=1, block=256, args=args)
            assert np.array_equal(y.read(), X[0, :8] + X[0, :8])
        else:
            stream.launch("faults", "reads_before_wait_sound", grid=1, block=256, args=args)
            with pytest.raises(AccessFault, match=r"access before pdl_wait .* of 'y'"):
                stream.launch("faults", kernel, grid=1, block=256, args=args)


def test_what_was_settled_may_be_read_before_pdl_wait(checked: Bench) -> None:
    """Weights that a kernel brought into their order, say. A kernel that writes them again ends that."""
    stream, device = checked.stream, checked.device
    x, y, z = (device.upload(np.ones((2, 256), np.float32), name) for name in "xyz")

    def launch(out: HostBuffer, read: HostBuffer) -> None:
        stream.launch("faults", "reads_before_wait_sound", grid=1, block=256, args=(out, read, np.int32(256)))

    for _ in range(2):
        launch(y, x)
        with pytest.raises(AccessFault, match=r"access before pdl_wait .* of 'y'"):
            launch(z, y)
        device.settle([y.rows(0, 1)])
        launch(z, y)


@pytest.mark.parametrize("reader", ["reads_before_wait_sound", "asks_before_wait"])
def test_a_launch_in_between_settles_what_was_written_before_it(checked: Bench, reader: str) -> None:
    """If it lets the next one start behind its own wait only; what it writes itself is not settled by it."""
    device = checked.device
    x, y, z, other = (device.upload(np.ones((2, 256), np.float32), name) for name in ("x", "y", "z", "other"))

    def launch(kernel: str, out: HostBuffer, read: HostBuffer) -> None:
        checked.stream.launch("faults", kernel, grid=1, block=256, args=(out, read, np.int32(256)))

    def refused(read: HostBuffer) -> None:
        with pytest.raises(AccessFault, match=rf"access before pdl_wait .* of '{read.name}'"):
            launch(reader, z, read)

    launch("writes_before_wait_sound", y, x)
    launch("lets_go_early", other, x)
    refused(y)
    launch("writes_before_wait_sound", y, x)
    launch("lets_go_late", other, x)
    refused(other)
    launch("lets_go_early", other, x)
    launch(reader, z, y)
    launch("lets_go_late", y, x)
    refused(y)
