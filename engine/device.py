"""What the engine asks of a device. Two implementations: engine.devices.host (CPU) and engine.devices.cuda (GPU).

Everything above this interface (arena, launchers, families, graph, session) is one code for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

DeviceName = Literal["host", "cuda"]
BLOCK_SHARED = 1024  # bytes of shared memory that every block takes for itself, on all GPUs from sm_80 on


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
    def shared_bytes(self) -> int:
        """Shared memory of a multiprocessor. A block takes BLOCK_SHARED of it besides what its launch asks for."""

    @property
    def alignment(self) -> int:
        """Allocations are rounded up to a multiple of this many bytes."""

    def alloc(self, shape: Sequence[int], dtype: DTypeLike, name: str) -> Buffer:
        """Memory with unspecified content (poisoned on the host). Raises OutOfMemory. Refused during capture."""

    def upload(self, values: NDArray[np.generic], name: str) -> Buffer: ...
    def free(self, buffer: Buffer) -> None: ...
    def stream(self, *, pdl: bool = False, grid_limit: int | None = None, portable: bool = False) -> Stream:
        """`portable`: kernels without what only the newest GPUs have, and no PDL; the same bits."""

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
