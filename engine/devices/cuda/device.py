"""The GPU as an engine.device.Device."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.arena import require_free
from engine.device import Buffer, CaptureError, DeviceError, DeviceName
from engine.devices.cuda.cubins import Cubins
from engine.devices.cuda.kernels import Kernels
from engine.devices.cuda.lane import CudaLane
from engine.devices.cuda.memory import Block, CudaBuffer
from engine.devices.cuda.nvrtc import KERNELS, OPTIONS, PORTABLE, read_sources
from engine.devices.cuda.stream import CudaStream
from engine.devices.cuda.support import MINIMUM_CAPABILITY, require_cuda
from reference.spec.errors import NoDevice, OutOfMemory

ALIGNMENT = 512  # what CuPy's pool rounds every allocation up to


class CudaDevice:
    """The first visible GPU. Raises NoDevice, with one line that says what is missing.

    cache_dir: where cubins are kept, in a folder of its own; None means ~/.cache/zeroulp.
    kernel_dirs: folders of kernel files besides engine/kernels.
    portable: every stream runs kernels as a GPU of sm_80 would, without PDL. Without it streams may ask for them.
    """

    def __init__(
        self, *, cache_dir: Path | None = None, kernel_dirs: Sequence[Path] = (), portable: bool = False
    ) -> None:
        self.cuda = cuda = require_cuda()
        self.capturing: CudaStream | None = None
        runtime = cuda.cupy.cuda.runtime
        cuda.cupy.cuda.Device(0).use()
        runtime.deviceSynchronize()  # makes the context that the driver's calls need
        properties = runtime.getDeviceProperties(0)
        self.capability = (int(properties["major"]), int(properties["minor"]))
        self._gpu: str = properties["name"].decode()
        if self.capability < MINIMUM_CAPABILITY:
            has, needs = ("{}.{}".format(*pair) for pair in (self.capability, MINIMUM_CAPABILITY))
            raise NoDevice(f"device cuda: {self._gpu} has compute capability {has}, at least {needs} is needed")
        self.multiprocessors = int(properties["multiProcessorCount"])
        self.shared_limit = int(properties["sharedMemPerBlockOptin"])
        self.l2_bytes = int(properties["l2CacheSize"])
        self._pool = cuda.cupy.cuda.MemoryPool()
        self.portable = portable
        self._sources = read_sources((KERNELS, *kernel_dirs))
        self._cache_dir = (cache_dir or Path.home() / ".cache" / "zeroulp") / "cuda"
        self._sets: dict[bool, tuple[Cubins, Kernels]] = {}  # by whether they are portable

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
        return self.capability >= (9, 0) and not self.portable

    @property
    def alignment(self) -> int:
        return ALIGNMENT

    def alloc(self, shape: Sequence[int], dtype: DTypeLike, name: str) -> CudaBuffer:
        self.refuse_during_capture(f"an allocation ({name!r})")
        kind, sizes = np.dtype(dtype), tuple(int(size) for size in shape)
        if any(size < 0 for size in sizes):
            raise DeviceError(f"alloc of {name!r}: shape {sizes} has a negative size")
        needed = -(-math.prod(sizes) * kind.itemsize // ALIGNMENT) * ALIGNMENT
        require_free(self, needed, f"buffer {name!r}")
        # The pool gives out again what was let go, to whichever stream: no kernel may still be using it.
        self.cuda.cupy.cuda.runtime.deviceSynchronize()
        try:
            memory = self._pool.malloc(needed)
        except self.cuda.cupy.cuda.memory.OutOfMemoryError:  # enough in all, but not in one piece
            need = f"buffer {name!r} needs {needed / 2**20:,.0f} MiB"
            free = f"{self.free_bytes() / 2**20:,.0f} MiB are free, but not in one piece"
            raise OutOfMemory(f"not enough memory on {self.description}: {need}, {free}") from None
        return CudaBuffer(Block(self, memory, name), sizes, kind)

    def upload(self, values: NDArray[np.generic], name: str) -> CudaBuffer:
        buffer = self.alloc(values.shape, values.dtype, name)
        buffer.write(values)
        return buffer

    def free(self, buffer: Buffer) -> None:
        """Give the whole allocation back, whichever view of it is given. A graph that uses it becomes stale."""
        self.refuse_during_capture(f"a free ({buffer.name!r})")
        if not isinstance(buffer, CudaBuffer) or buffer.block.owner is not self:
            raise DeviceError(f"free of {buffer.name!r}: not a buffer of this device")
        if buffer.block.memory is None:
            raise DeviceError(f"free of {buffer.name!r}: it was freed before")
        buffer.block.free()

    def stream(self, *, pdl: bool = False, grid_limit: int | None = None, portable: bool = False) -> CudaStream:
        return CudaStream(self, pdl=pdl, grid_limit=grid_limit, portable=portable or self.portable)

    def lane(self, nbytes: int, name: str) -> CudaLane:
        return CudaLane(self, nbytes, name)

    def settle(self, buffers: Iterable[Buffer]) -> None:
        self.refuse_during_capture("a wait for all work")
        runtime = self.cuda.cupy.cuda.runtime
        try:
            runtime.deviceSynchronize()
        except runtime.CUDARuntimeError as error:
            raise DeviceError(f"cuda: a kernel failed: {error}") from None

    def kernels(self, *, portable: bool) -> Kernels:
        return self._set(portable)[1]

    def _set(self, portable: bool) -> tuple[Cubins, Kernels]:
        if portable not in self._sets:
            options = PORTABLE if portable else OPTIONS
            cubins = Cubins(
                self._sources, architecture=self.architecture, cache_dir=self._cache_dir, options=options
            )  # fmt: skip
            self._sets[portable] = cubins, Kernels(self.cuda, cubins, self.shared_limit)
        return self._sets[portable]

    def used_bytes(self) -> int:
        return int(self._pool.used_bytes())

    def free_bytes(self) -> int:
        """What the driver has left and what the pool holds unused."""
        free, _ = self.cuda.cupy.cuda.runtime.memGetInfo()
        return int(free) + int(self._pool.free_bytes())

    def close(self) -> None:
        """Waits for all work, unloads the kernels and returns unused memory to the driver."""
        self.cuda.cupy.cuda.runtime.deviceSynchronize()
        for _, kernels in self._sets.values():
            kernels.close()
        self._pool.free_all_blocks()

    def precompile(self) -> None:
        """Compile every kernel file now, in parallel."""
        self._set(self.portable)[0].precompile()

    def refuse_during_capture(self, what: str) -> None:
        """Raise CaptureError, and void the capture, if a stream of this device is recording."""
        if self.capturing is not None:
            self.capturing.break_off(what)
            raise CaptureError(f"{what} cannot be recorded: a stream of this device is capturing")
