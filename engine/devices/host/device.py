"""The CPU as a device: see engine.device.Device for the interface, HostDevice for what it can be asked beyond it."""

from __future__ import annotations

import ctypes
import math
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.device import Buffer, CaptureError, DeviceError, DeviceName
from engine.devices.errors import AccessFault, GuardDamage, KernelFault
from engine.devices.host import native, reports
from engine.devices.host.arena import Arena, Place, physical_bytes
from engine.devices.host.arguments import MAX_SHARED, Launch
from engine.devices.host.build import Builder, default_cache_dir
from engine.devices.host.lane import HostLane
from engine.devices.host.memory import Allocation, HostBuffer
from engine.devices.host.module import KernelModule, LoadedModule, Worker
from engine.devices.host.stream import HostStream
from engine.devices.host.toolchain import Mode, find_compiler

Order = Literal["in order", "reverse", "random"]
_ORDERS: dict[Order, int] = {"in order": 0, "reverse": 1, "random": 2}
_RESERVE: dict[Mode, int] = {"fast": 1 << 38, "check": 1 << 34}  # address space; the checker's shadow is 30 times that
KERNELS = Path(__file__).parents[2] / "kernels"


class HostDevice:
    """Runs kernels thread by thread.

    order, seed: in which order the threads of a block and the blocks of a launch run; any order must give one result.
    workers: host threads that share the blocks of each launch.
    mode: "check" watches every load and store (races, bounds, uninitialised reads, writes to const arguments,
        alignment), about 5 times slower, one worker only; what it finds is raised as AccessFault after the launch.
    preempt: with "check" and "random", one access in so many lets another thread run (finds lost updates).
    poison: fresh device memory and the shared memory of every block hold 0xFF bytes (NaN, -1).
    limit: bytes of device memory, by default that of the machine.
    multiprocessors: what launchers are told; no result depends on it.
    shared_limit: bytes of shared memory that a block may have, 227 KiB at most; by default what every GPU from sm_80 on
        has.
    compiler: its path or name; by default the first of g++, clang++, gcc and clang that compiles C++.
    cpu_extensions: use the CPU's fused multiply-add and half conversion; without them the same bits come from software.
    kernel_dirs: folders of kernel files besides engine/kernels.
    """

    def __init__(
        self,
        *,
        cache_dir: Path | None = None,
        order: Order = "in order",
        seed: int = 1,
        workers: int = 1,
        mode: Mode = "fast",
        preempt: int = 0,
        poison: bool = True,
        limit: int | None = None,
        multiprocessors: int = 8,
        shared_limit: int = 99 * 1024,
        kernel_dirs: Sequence[Path] = (),
        compiler: str | None = None,
        cpu_extensions: bool = True,
    ) -> None:
        if workers < 1 or (mode == "check" and workers > 1):
            raise DeviceError(f"host device: {workers} workers in mode {mode}: at least 1, and only 1 in mode check")
        self._mode: Mode = mode
        if not 0 < shared_limit <= MAX_SHARED:
            raise DeviceError(f"host device: {shared_limit} bytes of shared memory, expected 1 .. {MAX_SHARED}")
        self._multiprocessors = multiprocessors
        self._shared_limit = shared_limit
        self._builder = Builder(
            find_compiler(compiler, cpu_extensions=cpu_extensions),
            cache_dir or default_cache_dir(),
            (KERNELS, *kernel_dirs),
        )
        self._options = native.Options(seed, _ORDERS[order], int(poison), int(mode == "check"), preempt)
        self._launch_count = 0
        self._lock = threading.Lock()
        faults = ctypes.CDLL(str(self._builder.faults()))
        self._workers = [Worker(self._builder, faults) for _ in range(workers)]
        self._threads = ThreadPoolExecutor(max_workers=workers) if workers > 1 else None
        self._modules: dict[str, KernelModule] = {}
        self._arena = Arena(
            limit=physical_bytes() if limit is None else limit,
            poison=poison,
            reserve=_RESERVE[mode],
            write_guards=self._workers[0].write_guards,
        )
        self._streams: weakref.WeakSet[HostStream] = weakref.WeakSet()
        self._tracing: list[Launch] | None = None
        self._closed = False
        if mode == "check":
            library = self._workers[0].library
            if library.simt_check_arena(ctypes.c_void_p(self._arena.start), ctypes.c_uint64(self._arena.reserve)):
                raise DeviceError("host device: no address space for the access checker")

    # -- what engine.device.Device asks for

    @property
    def name(self) -> DeviceName:
        return "host"

    @cached_property
    def description(self) -> str:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
        return f"{model}, {len(self._workers)} worker{'s' if len(self._workers) > 1 else ''}"

    @property
    def has_pdl(self) -> bool:
        return False

    @property
    def shared_limit(self) -> int:
        return self._shared_limit

    @property
    def multiprocessors(self) -> int:
        return self._multiprocessors

    @property
    def alignment(self) -> int:
        return native.ALIGNMENT

    def alloc(self, shape: Sequence[int], dtype: DTypeLike, name: str) -> HostBuffer:
        self._refuse_during_capture(f"an allocation ('{name}')")
        self._refuse_closed()
        element = np.dtype(dtype)
        sizes = tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes):
            raise DeviceError(f"alloc of '{name}': shape {sizes} has a negative size")
        place = self._arena.allocate(math.prod(sizes) * element.itemsize, name)
        self._tell_checker(place, place.number)
        return HostBuffer(self, Allocation(self, place), sizes, element)

    def upload(self, values: NDArray[np.generic], name: str) -> HostBuffer:
        buffer = self.alloc(values.shape, values.dtype, name)
        buffer.write(values)
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Frees the whole allocation, whichever view of it is given. A second time is an error."""
        self._refuse_during_capture(f"a free ('{buffer.name}')")
        if not isinstance(buffer, HostBuffer) or buffer.device is not self:
            raise DeviceError(f"free of '{buffer.name}': not a buffer of this device")
        if not buffer.allocation.alive:
            raise DeviceError(f"free of '{buffer.name}': it was freed before")
        buffer.allocation.release()

    def stream(self, *, pdl: bool = False, grid_limit: int | None = None, portable: bool = False) -> HostStream:
        """`pdl` and `portable` change nothing here: see has_pdl."""
        self._refuse_closed()
        if grid_limit is not None and grid_limit < 1:
            raise DeviceError(f"stream: grid limit {grid_limit}, expected at least 1")
        stream = HostStream(self, grid_limit)
        self._streams.add(stream)
        return stream

    def lane(self, nbytes: int, name: str) -> HostLane:
        return HostLane(self, nbytes, name)

    def settle(self, buffers: Iterable[Buffer]) -> None:
        self._refuse_during_capture("a wait for all work")
        for buffer in buffers:
            if not isinstance(buffer, HostBuffer) or buffer.device is not self:
                raise DeviceError(f"settling '{buffer.name}': not a buffer of this device")
            if self._mode == "check":
                number = ctypes.c_uint32(buffer.allocation.place.number)
                self._workers[0].library.simt_check_settle(number)

    def used_bytes(self) -> int:
        return self._arena.used

    def free_bytes(self) -> int:
        return self._arena.limit - self._arena.used

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown()
        for module in self._modules.values():
            module.close()
        for worker in self._workers:
            worker.close()
        self._arena.close()

    # -- beyond it

    @property
    def mode(self) -> Mode:
        return self._mode

    def precompile(self) -> None:
        """Compile every kernel file now, in parallel."""
        self._builder.all(self._mode)

    @contextmanager
    def trace(self) -> Iterator[list[Launch]]:
        """Collect the launches of all streams, checked but not run. Anything but a launch raises CaptureError."""
        self._refuse_during_capture("a trace")
        launches: list[Launch] = []
        self._tracing = launches
        try:
            yield launches
        finally:
            self._tracing = None

    @property
    def tracing(self) -> list[Launch] | None:
        return self._tracing

    def statistics(self) -> dict[str, int]:
        """Threads run, switches, barriers, warp operations; in mode check also loads, stores and their bytes."""
        return reports.counters(self._workers)

    def check_guards(self) -> None:
        """Raises GuardDamage, naming the buffer, if a byte around a live buffer was overwritten."""
        self._refuse_closed()
        ranges = self._arena.live_ranges()
        address = self._workers[0].library.simt_find_damage(ctypes.byref(ranges), ctypes.c_int64(len(ranges)))
        if address is not None:
            raise GuardDamage(f"overwritten: {self._arena.describe(address)}")

    # -- for the other classes of this package

    def _module(self, name: str) -> KernelModule:
        self._refuse_closed()
        if name not in self._modules:
            source = self._builder.kernel_files().get(name)
            if source is None:
                raise DeviceError(f"module {name}: no kernel file {name}.cu")
            path = self._builder.kernels(source, self._mode)
            copies = tuple(LoadedModule(self._builder, path, worker.library) for worker in self._workers)
            self._modules[name] = KernelModule(name=name, path=path, copies=copies)
        return self._modules[name]

    def _nodes(self, launches: tuple[Launch, ...]) -> list[ctypes.Array[native.Node]]:
        """Per worker, the launches as the runtime takes them."""
        count = len(launches)
        return [(native.Node * count)(*[x.node(i) for x in launches]) for i in range(len(self._workers))]

    def _run(self, nodes: list[ctypes.Array[native.Node]], launches: tuple[Launch, ...]) -> None:
        self._refuse_closed()
        with self._lock:
            options = native.Options.from_buffer_copy(self._options)
            options.seed += self._launch_count
            self._launch_count += 1
            results = self._run_workers(nodes, len(launches), options)
            for number, result in enumerate(results):
                if result > 0:
                    self._raise(number, launches[result - 1], result - 1 if len(launches) > 1 else None)

    def _run_workers(self, nodes: list[ctypes.Array[native.Node]], count: int, options: native.Options) -> list[int]:
        workers = len(self._workers)
        sync = (ctypes.c_uint32 * 16)()

        def one(number: int) -> int:
            run = self._workers[number].library.simt_run
            result: int = run(nodes[number], count, ctypes.byref(options), number, workers, sync)
            return result

        if self._threads is None:
            return [one(0)]
        return list(self._threads.map(one, range(workers)))

    def _raise(self, number: int, launch: Launch, node: int | None) -> None:
        worker, module = self._workers[number], launch.module
        where = launch.name if node is None else f"graph node {node}, {launch.name}"
        error = worker.error()
        seen = reports.access_reports(worker, number, module, self._arena) if self._mode == "check" else ()
        if seen:
            more = f" (and {len(seen) - 1} more)" if len(seen) > 1 else ""
            raise AccessFault(f"{where}: {seen[0]}{more}", seen)
        text = reports.kernel_error(error, number, module, self._arena)
        raise (GuardDamage if text.startswith("wrote outside") else KernelFault)(f"{where}: {text}")

    def _release(self, place: Place) -> None:
        if self._closed:
            return
        self._arena.release(place)
        self._tell_checker(place, 0)

    def _before_copy(self, buffer: HostBuffer, what: str) -> None:
        self._refuse_during_capture(f"{what} ('{buffer.name}')")
        if not buffer.allocation.alive:
            raise DeviceError(f"{what}: buffer '{buffer.name}' was freed")
        self.check_guards()

    def _tell_checker(self, place: Place, owner: int) -> None:
        if self._mode == "check":
            call = self._workers[0].library.simt_check_allocate
            call(ctypes.c_void_p(place.start), ctypes.c_uint64(place.nbytes), ctypes.c_uint32(owner))

    def _defined(self, buffer: HostBuffer) -> None:
        if self._mode == "check":
            call = self._workers[0].library.simt_check_define
            call(ctypes.c_void_p(buffer.ptr), ctypes.c_uint64(buffer.nbytes))

    def _refuse_during_trace(self, what: str) -> None:
        if self._tracing is not None:
            raise CaptureError(f"{what} cannot be recorded: the device traces launches")

    def _refuse_during_capture(self, what: str) -> None:
        self._refuse_during_trace(what)
        capturing = [stream.capturing for stream in self._streams if stream.capturing is not None]
        for capture in capturing:
            capture.break_off(what)
        if capturing:
            raise CaptureError(f"{what} cannot be recorded: a stream of this device is capturing")

    def _refuse_closed(self) -> None:
        if self._closed:
            raise DeviceError("the host device is closed")
