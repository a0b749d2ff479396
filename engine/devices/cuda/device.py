"""The GPU as an engine.device.Device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.arena import require_free
from engine.device import Buffer, CaptureError, DeviceError, DeviceName
from engine.devices.cuda.cubins import Cubins
from engine.devices.cuda.kernels import Kernels
from engine.devices.cuda.memory import Block, CudaBuffer
from engine.devices.cuda.nvrtc import KERNELS
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.support import MINIMUM_CAPABILITY, Cuda
from reference.spec.errors import NoDevice, OutOfMemory

CACHE = Path.home() / ".cache" / "zeroulp" / "cubins"
ALIGNMENT = 512  # what CuPy's pool rounds every allocation up to


class CudaDevice:
    """Implements engine.device.Device on the first visible GPU, with a memory pool of its own."""

    def __init__(self, cuda: Cuda, *, kernels: Path | None = None, cache: Path | None = None) -> None:
        self.cuda = cuda
        self.capturing = False
        runtime = cuda.cupy.cuda.runtime
        cuda.cupy.cuda.Device(0).use()
        properties = runtime.getDeviceProperties(0)
        self.capability = (int(properties["major"]), int(properties["minor"]))
        self._gpu = properties["name"].decode()
        if self.capability < MINIMUM_CAPABILITY:
            oldest = "{}.{}".format(*MINIMUM_CAPABILITY)
            raise NoDevice(
                f"device cuda: {self._gpu} has compute capability {self.capability[0]}.{self.capability[1]}, {oldest} is needed"
            )
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.l2_bytes = int(properties["l2CacheSize"])
        self._pool = cuda.cupy.cuda.MemoryPool()
        cubins = Cubins(kernels or KERNELS, architecture=self.architecture, cache=cache or CACHE)
        self.kernels = Kernels(cuda, cubins)

    @property
    def name(self) -> DeviceName:
        return "cuda"

    @property
    def description(self) -> str:
        return self._gpu

    @property
    def architecture(self) -> str:
        """As "sm_90"."""
        return "sm_{}{}".format(*self.capability)

    @property
    def has_pdl(self) -> bool:
        return self.capability >= (9, 0)

    @property
    def alignment(self) -> int:
        return ALIGNMENT

    def alloc(self, shape: Sequence[int], dtype: DTypeLike, name: str) -> CudaBuffer:
        if self.capturing:
            raise CaptureError(f"buffer {name!r}: allocated during capture; a graph holds launches only")
        kind = np.dtype(dtype)
        needed = -(-math.prod(shape) * kind.itemsize // ALIGNMENT) * ALIGNMENT
        require_free(self, needed, f"buffer {name!r}")
        try:
            memory = self._pool.malloc(needed)
        except self.cuda.cupy.cuda.memory.OutOfMemoryError:  # enough in all, but not in one piece
            free = f"{self.free_bytes() / 2**20:,.0f} MiB are free, not in one piece"
            raise OutOfMemory(f"not enough memory on {self.description}: buffer {name!r} needs {needed / 2**20:,.0f} MiB, {free}") from None
        return CudaBuffer(Block(self, memory), 0, tuple(shape), kind, name)

    def upload(self, values: NDArray[np.generic], name: str) -> CudaBuffer:
        buffer = self.alloc(values.shape, values.dtype, name)
        buffer.write(values)
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give the whole allocation back, views included. A graph that was captured with it keeps it until it is closed."""
        if not isinstance(buffer, CudaBuffer) or buffer.block.owner is not self:
            raise DeviceError(f"buffer {buffer.name!r}: freed on a device it does not belong to")
        if buffer.block.memory is None:
            raise DeviceError(f"buffer {buffer.name!r}: freed twice")
        if self.capturing:
            raise CaptureError(f"buffer {buffer.name!r}: freed during capture; a graph holds launches only")
        # The pool hands memory out again at once, to whichever stream: no kernel may still be using it.
        self.cuda.cupy.cuda.runtime.deviceSynchronize()
        buffer.block.memory = None

    def stream(self, *, pdl: bool = False, grid_limit: int | None = None) -> CudaStream:
        return CudaStream(self, pdl=pdl, grid_limit=grid_limit)

    def used_bytes(self) -> int:
        return int(self._pool.used_bytes())

    def free_bytes(self) -> int:
        """What the driver has left and what the pool holds unused."""
        free, _ = self.cuda.cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self._pool.free_bytes())

    def close(self) -> None:
        """Waits for all work, unloads the kernels and returns unused memory to the driver."""
        self.cuda.cupy.cuda.runtime.deviceSynchronize()
        self.kernels.close()
        self._pool.free_all_blocks()
