"""Device memory out of a CuPy pool, seen as named, typed, contiguous blocks."""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.device import CaptureError, DeviceError
from engine.devices.cuda.support import Cuda


class Owner(Protocol):
    """What a buffer asks of the device that it belongs to."""

    @property
    def cuda(self) -> Cuda: ...
    @property
    def capturing(self) -> bool: ...


class Block:
    """One allocation. `memory` is CuPy's MemoryPointer, None once freed; a graph may hold it longer."""

    def __init__(self, owner: Owner, memory: Any) -> None:
        self.owner = owner
        self.memory = memory


class CudaBuffer:
    """Implements engine.device.Buffer: a typed window of a block."""

    def __init__(self, block: Block, offset: int, shape: tuple[int, ...], dtype: np.dtype[np.generic], name: str) -> None:
        self.block = block
        self._offset = offset
        self.shape = shape
        self.dtype = dtype
        self.name = name
        self.nbytes = math.prod(shape) * dtype.itemsize
        self._address = int(block.memory.ptr) + offset

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
        self._refuse_capture("fill")
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
        return CudaBuffer(self.block, self._offset + start * row, shape, self.dtype, self.name)

    def reshape(self, *shape: int) -> CudaBuffer:
        if math.prod(shape) != math.prod(self.shape):
            raise DeviceError(f"buffer {self.name!r} {self.shape}: cannot be seen as {shape}")
        return CudaBuffer(self.block, self._offset, shape, self.dtype, self.name)

    def _copy(self, target: int, source: int, kind: str, what: str) -> None:
        """Streams here do not wait for the default stream, so the device is drained before and after."""
        self._refuse_capture(what)
        runtime = self.block.owner.cuda.cupy.cuda.runtime
        try:
            runtime.deviceSynchronize()
            runtime.memcpy(target, source, self.nbytes, getattr(runtime, kind))
            runtime.deviceSynchronize()
        except runtime.CUDARuntimeError as error:
            raise DeviceError(f"buffer {self.name!r}: {what} failed: {error}") from None

    def _refuse_capture(self, what: str) -> None:
        if self.block.owner.capturing:
            raise CaptureError(f"buffer {self.name!r}: {what} during capture; a graph holds launches only")
