"""A lane of the GPU: page-locked memory, from which copies run beside the CPU at the full width of the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.device import DeviceError

if TYPE_CHECKING:
    from engine.devices.cuda.device import CudaDevice


class CudaLane:
    """See engine.device.Lane."""

    def __init__(self, device: CudaDevice, nbytes: int, name: str) -> None:
        self._device = device
        self._runtime = device.cuda.cupy.cuda.runtime
        self.buffer = device.alloc((nbytes,), np.uint8, name)
        cuda = device.cuda.cupy.cuda
        try:
            memory = cuda.PinnedMemoryPointer(cuda.PinnedMemory(nbytes), 0)
        except self._runtime.CUDARuntimeError as error:
            raise DeviceError(f"buffer {name!r}: no page-locked memory of {nbytes} bytes: {error}") from None
        self.host = np.frombuffer(memory, np.uint8, nbytes)
        self.stream = device.stream()

    def send(self, nbytes: int) -> None:
        self._device.refuse_during_capture(f"a write of buffer {self.buffer.name!r}")
        source, kind = self.host[:nbytes].ctypes.data, self._runtime.memcpyHostToDevice
        target = self.buffer.rows(0, nbytes).ptr
        try:
            self._runtime.memcpyAsync(target, source, nbytes, kind, self.stream.raw.ptr)
        except self._runtime.CUDARuntimeError as error:
            raise DeviceError(f"buffer {self.buffer.name!r}: write failed: {error}") from None

    def wait(self) -> None:
        self.stream.synchronize()

    def close(self) -> None:
        self.wait()
        self._device.free(self.buffer)
