"""Device memory out of a CuPy pool, seen as named, typed, contiguous blocks."""

from __future__ import annotations

import math
import weakref
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.device import DeviceError
from engine.devices.cuda.support import Cuda


class Owner(Protocol):
    """What a buffer asks of the device that it belongs to."""

    @property
    def cuda(self) -> Cuda: ...
    def refuse_during_capture(self, what: str) -> None: ...


class Block:
    """One allocation: kept as long as a buffer, a view or a graph refers to it, or until it is freed.

    `memory` is CuPy's MemoryPointer, None once freed.
    """

    def __init__(self, owner: Owner, memory: Any, name: str) -> None:
        self.owner = owner
        self.memory = memory
        self.name = name
        self.graphs: weakref.WeakSet[UsesMemory] = weakref.WeakSet()  # those that were captured with it

    def free(self) -> None:
        for graph in self.graphs:
            graph.freed.append(self.name)
        self.memory = None


class UsesMemory:
    """A graph is told here which of its allocations were freed, so that a replay need not look at each."""

    def __init__(self) -> None:
        self.freed: list[str] = []


class CudaBuffer:
    """Implements engine.device.Buffer: a typed window of a block."""

    def __init__(self, block: Block, shape: tuple[int, ...], dtype: np.dtype[np.generic], offset: int = 0) -> None:
        self.block = block
        self._offset = offset
        self.shape = shape
        self.dtype = dtype
        self.nbytes = math.prod(shape) * dtype.itemsize
        self._address = int(block.memory.ptr) + offset

    @property
    def name(self) -> str:
        return self.block.name

    @property
    def ptr(self) -> int:
        if self.block.memory is None:
            raise DeviceError(f"buffer {self.name!r}: used after it was freed")
        return self._address

    def read(self) -> NDArray[np.generic]:
        values = np.empty(self.shape, self.dtype)
        self._copy(values.ctypes.data, self.ptr, "memcpyDeviceToHost", "read")
        return values

    def write(self, values: NDArray[np.generic]) -> None:
        if values.shape != self.shape or values.dtype != self.dtype:
            raise DeviceError(
                f"buffer {self.name!r} is {self.shape} {self.dtype}: cannot write {values.shape} {values.dtype} into it"
            )
        contiguous = np.ascontiguousarray(values)
        self._copy(self.ptr, contiguous.ctypes.data, "memcpyHostToDevice", "write")

    def fill(self, byte: int) -> None:
        if not 0 <= byte <= 255:
            raise DeviceError(f"buffer {self.name!r}: fill with {byte}, which is not a byte (0 .. 255)")
        self.block.owner.refuse_during_capture(f"a fill of buffer {self.name!r}")
        runtime = self.block.owner.cuda.cupy.cuda.runtime
        try:
            runtime.deviceSynchronize()
            runtime.memset(self.ptr, byte, self.nbytes)
            runtime.deviceSynchronize()
        except runtime.CUDARuntimeError as error:
            raise DeviceError(f"buffer {self.name!r}: fill failed: {error}") from None

    def rows(self, start: int, stop: int) -> CudaBuffer:
        if not self.shape or not 0 <= start <= stop <= self.shape[0]:
            raise IndexError(f"buffer {self.name!r} {self.shape}: no rows {start} .. {stop}")
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        shape = (stop - start, *self.shape[1:])
        return CudaBuffer(self.block, shape, self.dtype, self._offset + start * row)

    def reshape(self, *shape: int) -> CudaBuffer:
        if math.prod(shape) != math.prod(self.shape) or any(size < 0 for size in shape):
            raise DeviceError(f"buffer {self.name!r} {self.shape}: cannot be seen as {shape}")
        return CudaBuffer(self.block, shape, self.dtype, self._offset)

    def _copy(self, target: int, source: int, kind: str, what: str) -> None:
        """Streams here do not wait for the default stream, so the device is drained before and after."""
        self.block.owner.refuse_during_capture(f"a {what} of buffer {self.name!r}")
        runtime = self.block.owner.cuda.cupy.cuda.runtime
        try:
            runtime.deviceSynchronize()
            runtime.memcpy(target, source, self.nbytes, getattr(runtime, kind))
            runtime.deviceSynchronize()
        except runtime.CUDARuntimeError as error:
            raise DeviceError(f"buffer {self.name!r}: {what} failed: {error}") from None
