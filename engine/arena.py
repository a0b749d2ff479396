"""Named device memory: planned first, checked against what is free, allocated once, never grown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from engine.device import Buffer, Device, DeviceError
from reference.spec.errors import OutOfMemory


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One buffer to be: its largest shape."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    def nbytes(self, alignment: int) -> int:
        size = math.prod(self.shape) * self.dtype.itemsize
        return -(-size // alignment) * alignment


class Arena:
    """Everything a session touches, by name.

    `plan` names each buffer at its largest size; `allocate` takes all of them at once. After that the arena is closed:
    nothing a captured graph points to can move or grow.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._plans: dict[str, Plan] = {}
        self._buffers: dict[str, Buffer] = {}
        self._bytes = 0

    def plan(self, name: str, shape: Sequence[int], dtype: DTypeLike) -> None:
        if self._buffers:
            raise DeviceError(f"arena: buffer {name!r} planned after allocation; every size is fixed before first use")
        if name in self._plans:
            raise DeviceError(f"arena: buffer {name!r} planned twice")
        self._plans[name] = Plan(name=name, shape=tuple(shape), dtype=np.dtype(dtype))

    def planned_bytes(self) -> int:
        """What `allocate` will take, every buffer rounded up to the device's alignment."""
        return sum(plan.nbytes(self._device.alignment) for plan in self._plans.values())

    def allocate(self) -> None:
        """Take all planned memory. Raises OutOfMemory, with what is needed and free, before taking any."""
        require_free(self._device, self.planned_bytes(), "buffers and KV cache")
        before = self._device.used_bytes()
        for plan in self._plans.values():
            self._buffers[plan.name] = self._device.alloc(plan.shape, plan.dtype, plan.name)
        self._bytes = self._device.used_bytes() - before

    def memory_bytes(self) -> int:
        """What the device's allocator says this arena took."""
        return self._bytes

    def __getitem__(self, name: str) -> Buffer:
        return self._buffers[name]

    def __iter__(self) -> Iterator[Buffer]:
        return iter(self._buffers.values())

    def close(self) -> None:
        for buffer in self._buffers.values():
            self._device.free(buffer)
        self._buffers.clear()
        self._bytes = 0


def require_free(device: Device, needed: int, what: str) -> None:
    """Raise OutOfMemory if the device has less than `needed` bytes left."""
    free = device.free_bytes()
    if needed > free:
        sizes = f"{what} need {needed / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB are free"
        raise OutOfMemory(f"not enough memory on {device.description}: {sizes}")
