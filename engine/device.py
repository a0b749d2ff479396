"""What the engine asks of a device. Two implementations: engine.devices.host (CPU) and engine.devices.cuda (GPU).

Everything above this interface (arena, launchers, families, graph, session) is one code for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

DeviceName = Literal["host", "cuda"]


class Buffer(Protocol):
    """A named, contiguous, C-ordered block of device memory. Its address never changes."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[np.generic]: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def ptr(self) -> int: ...

    def read(self) -> NDArray[np.generic]:
        """Copy to a new host array; waits for all earlier work. Refused during capture."""

    def write(self, values: NDArray[np.generic]) -> None:
        """Copy from the host; `values` has this shape and dtype. Refused during capture."""

    def fill(self, byte: int) -> None:
        """Set every byte; 0xFF makes every float a NaN. Refused during capture."""

    def rows(self, start: int, stop: int) -> Buffer:
        """The same memory, rows start .. stop - 1 of the first axis. Raises IndexError outside."""

    def reshape(self, *shape: int) -> Buffer:
        """The same memory under another shape of the same size."""


KernelArgument = Buffer | np.int32 | np.uint32 | np.int64 | np.float32 | None


@dataclass(frozen=True, kw_only=True)
class Counters:
    """Counted where the work is issued, not where it is asked for."""

    launches: int  # kernels launched directly
    graph_launches: int  # graphs replayed
    graph_kernels: int  # kernels run by those replays (nodes x replays)


class Graph(Protocol):
    """An instantiated recording of launches. Keeps its buffers alive; addresses and sizes are frozen."""

    @property
    def kernels(self) -> int:
        """Kernel nodes, counted from the graph itself."""

    @property
    def programmatic_edges(self) -> int | None:
        """Edges that let a kernel start before its predecessor ends; None where the device has no such edges."""

    def launch(self) -> None: ...
    def close(self) -> None: ...


class Capture(Protocol):
    """`with stream.capture() as capture: ...launches...`, then `capture.graph`."""

    @property
    def graph(self) -> Graph: ...


class Stream(Protocol):
    """An in-order queue of launches on one device."""

    @property
    def device(self) -> Device: ...
    @property
    def portable(self) -> bool | None:
        """Whether its kernels do without what only the newest GPUs have; None where there is one set of kernels."""

    def launch(
        self,
        module: str,
        kernel: str,
        *,
        grid: int,
        block: int,
        args: Sequence[KernelArgument],
        shared: int = 0,
    ) -> None:
        """Run `kernel` of engine/kernels/<module>.cu on `grid` blocks of `block` threads.

        A stream with a grid limit launches at most that many blocks: every kernel walks its work items with a grid
        stride, so the result does not depend on it. Argument kinds and count are checked against the kernel where the
        device can see them. `shared` is the size of dynamic shared memory in bytes; None passes a null pointer.
        """

    def capture(self) -> AbstractContextManager[Capture]:
        """Record launches instead of running them. Raises CaptureError on anything that is not a launch."""

    def synchronize(self) -> None: ...

    @property
    def counters(self) -> Counters: ...


class Lane(Protocol):
    """A way to the device for much data, piece by piece: memory on both sides, a stream for what follows a copy."""

    @property
    def host(self) -> NDArray[np.uint8]:
        """(nbytes,), for any thread to fill once `wait` has returned."""

    @property
    def buffer(self) -> Buffer:
        """(nbytes,) uint8 on the device."""

    @property
    def stream(self) -> Stream: ...
    def send(self, nbytes: int) -> None:
        """Copy the first bytes of `host` to `buffer`, in the order of the stream; may return before it is done."""

    def wait(self) -> None:
        """Return when all that was sent and launched is done. Any thread may call it."""

    def close(self) -> None:
        """Wait, then free the buffer."""


class Device(Protocol):
    @property
    def name(self) -> DeviceName: ...
    @property
    def description(self) -> str:
        """For a person: the GPU's or the CPU's name."""

    @property
    def has_pdl(self) -> bool:
        """Whether programmatic dependent launch exists here; on the host it is not applicable."""

    @property
    def multiprocessors(self) -> int: ...
    @property
    def shared_limit(self) -> int:
        """Bytes of shared memory that a block may ask for, static ones included."""

    @property
    def alignment(self) -> int:
        """Allocations are rounded up to a multiple of this many bytes."""

    def alloc(self, shape: Sequence[int], dtype: DTypeLike, name: str) -> Buffer:
        """Memory with unspecified content (poisoned on the host). Raises OutOfMemory. Refused during capture."""

    def upload(self, values: NDArray[np.generic], name: str) -> Buffer: ...
    def free(self, buffer: Buffer) -> None: ...
    def stream(self, *, pdl: bool = False, grid_limit: int | None = None, portable: bool = False) -> Stream:
        """`portable`: kernels without what only the newest GPUs have, and no PDL; the same bits."""

    def lane(self, nbytes: int, name: str) -> Lane:
        """Raises OutOfMemory. Refused during capture."""

    def settle(self, buffers: Iterable[Buffer]) -> None:
        """Wait for all work. Kernels may then read these ahead of their pdl_wait, as what only the host wrote.

        Refused during capture.
        """

    def used_bytes(self) -> int:
        """What the allocator itself says is in use (the CuPy pool; the host arena)."""

    def free_bytes(self) -> int: ...
    def close(self) -> None: ...


class DeviceError(RuntimeError):
    """A kernel failed, or a device was asked for something it cannot do."""


class CaptureError(DeviceError):
    """Something that cannot be recorded was asked for during capture."""


class LaunchError(DeviceError):
    """The arguments, grid or shared memory of a launch do not fit the kernel."""
