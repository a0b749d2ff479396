"""Buffers of the host device. There is no implicit way to their memory: the host reads and writes by copies only."""

from __future__ import annotations

import ctypes
import math
import weakref
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.device import DeviceError
from engine.devices.host.arena import Place

if TYPE_CHECKING:
    from engine.devices.host.device import HostDevice


class Allocation:
    """Keeps a place in the arena as long as a buffer, a view or a graph refers to it."""

    def __init__(self, device: HostDevice, place: Place) -> None:
        self.place = place
        self.release = weakref.finalize(self, device._release, place)

    @property
    def alive(self) -> bool:
        return self.release.alive


class HostBuffer:
    """See engine.device.Buffer."""

    def __init__(
        self,
        device: HostDevice,
        allocation: Allocation,
        shape: tuple[int, ...],
        dtype: np.dtype[np.generic],
        offset: int = 0,
    ) -> None:
        self._device = device
        self.allocation = allocation
        self._shape = shape
        self._dtype = dtype
        self._offset = offset

    @property
    def device(self) -> HostDevice:
        return self._device

    @property
    def name(self) -> str:
        return self.allocation.place.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self._dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self._shape) * self._dtype.itemsize

    @property
    def ptr(self) -> int:
        return self.allocation.place.start + self._offset

    def read(self) -> NDArray[np.generic]:
        self._device._before_copy(self, "a copy to the host")
        return self._view().copy()

    def write(self, values: NDArray[np.generic]) -> None:
        if values.shape != self._shape or values.dtype != self._dtype:
            raise DeviceError(
                f"write to '{self.name}': {values.dtype} {values.shape} given, {self._dtype} {self._shape} expected"
            )
        self._device._before_copy(self, "a copy from the host")
        self._view()[...] = values
        self._device._defined(self)

    def fill(self, byte: int) -> None:
        if not 0 <= byte <= 255:
            raise DeviceError(f"fill of '{self.name}': {byte} is not a byte (0 .. 255)")
        self._device._before_copy(self, "a fill")
        ctypes.memset(self.ptr, byte, self.nbytes)
        self._device._defined(self)

    def rows(self, start: int, stop: int) -> HostBuffer:
        count = self._shape[0] if self._shape else 0
        if not 0 <= start <= stop <= count:
            raise IndexError(f"rows {start} .. {stop} of '{self.name}', which has {count}")
        row_bytes = math.prod(self._shape[1:]) * self._dtype.itemsize
        shape = (stop - start, *self._shape[1:])
        return HostBuffer(self._device, self.allocation, shape, self._dtype, self._offset + start * row_bytes)

    def reshape(self, *shape: int) -> HostBuffer:
        if math.prod(shape) != math.prod(self._shape) or any(size < 0 for size in shape):
            raise DeviceError(f"reshape of '{self.name}': {self._shape} has another size than {shape}")
        return HostBuffer(self._device, self.allocation, shape, self._dtype, self._offset)

    def _view(self) -> NDArray[np.generic]:
        if not self.nbytes:
            return np.empty(self._shape, self._dtype)
        memory = memoryview((ctypes.c_char * self.nbytes).from_address(self.ptr)).cast("B")
        view: NDArray[np.generic] = np.frombuffer(memory, dtype=self._dtype).reshape(self._shape)
        return view
