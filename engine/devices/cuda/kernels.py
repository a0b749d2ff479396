"""Loaded kernels: their handles, what they take, and how arguments are packed for the driver."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from engine.device import DeviceError, KernelArgument, LaunchError
from engine.devices.cuda.cubins import Cubins
from engine.devices.cuda.memory import CudaBuffer
from engine.devices.cuda.support import Cuda, checked

SLOT = 8  # bytes; every argument gets a slot of the widest kind

# struct codes and sizes in bytes of the kinds of argument; a slot that is not full is padded
_KINDS: dict[type, tuple[str, int]] = {
    CudaBuffer: ("Q", 8),
    type(None): ("Q", 8),
    np.int64: ("q", 8),
    np.int32: ("i4x", 4),
    np.uint32: ("I4x", 4),
    np.float32: ("f4x", 4),
}


class Kernel:
    """One kernel, ready to launch. Its argument block is written anew by every launch; the driver copies it.

    shared_limit: bytes of shared memory of a block. Above 48 KiB a kernel has to opt in, and each does, to all of them.
    """

    def __init__(self, cuda: Cuda, function: Any, name: str, shared_limit: int) -> None:
        driver = cuda.driver
        self.function = function
        self.name = name  # module.kernel
        self.shared_limit = shared_limit
        attribute = driver.CUfunction_attribute
        self.max_threads = int(self._attribute(driver, attribute.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK))
        self.static_shared = int(self._attribute(driver, attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES))
        dynamic = attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        allowed = driver.cuFuncSetAttribute(function, dynamic, shared_limit - self.static_shared)
        checked(driver, allowed, f"{name}: {dynamic.name}")
        self.sizes = tuple(_parameter_sizes(driver, function))
        self._storage = ctypes.create_string_buffer(SLOT * max(1, len(self.sizes)))
        base = ctypes.addressof(self._storage)
        self._pointers = (ctypes.c_void_p * max(1, len(self.sizes)))(*(base + SLOT * i for i in range(len(self.sizes))))
        self.parameters = ctypes.addressof(self._pointers)  # void**, as the driver wants it
        self._packers: dict[tuple[type, ...], struct.Struct] = {}

    def pack(self, args: Sequence[KernelArgument]) -> None:
        """Write the arguments where `parameters` points. Raises LaunchError if they do not fit the kernel."""
        kinds = tuple(map(type, args))
        packer = self._packers.get(kinds) or self._packer(kinds)
        try:
            values = [value.ptr if type(value) is CudaBuffer else 0 if value is None else value for value in args]
        except DeviceError as error:
            raise LaunchError(f"{self.name}: {error}") from None
        packer.pack_into(self._storage, 0, *values)

    def check_geometry(self, grid: int, block: int, shared: int) -> None:
        """Raise LaunchError for a launch that this kernel cannot have."""
        if not (1 <= block <= self.max_threads and block % 32 == 0):
            raise LaunchError(f"{self.name}: block {block}, expected a multiple of 32 up to {self.max_threads}")
        if not 1 <= grid < 2**31:
            raise LaunchError(f"{self.name}: a grid of {grid} blocks")
        if shared < 0 or shared + self.static_shared > self.shared_limit:
            raise LaunchError(
                f"{self.name}: {shared} bytes of dynamic and {self.static_shared} of static shared memory, "
                f"a block has {self.shared_limit}"
            )

    def _packer(self, kinds: tuple[type, ...]) -> struct.Struct:
        """Checks kinds, count and sizes once for each signature that is used."""
        for i, kind in enumerate(kinds):
            if kind not in _KINDS:
                known = "a cuda buffer, None, np.int32, np.uint32, np.int64 or np.float32"
                raise LaunchError(f"{self.name}: argument {i} is a {kind.__name__}; expected {known}")
        if len(kinds) != len(self.sizes):
            raise LaunchError(f"{self.name}: {len(kinds)} arguments, the kernel takes {len(self.sizes)}")
        for i, (kind, size) in enumerate(zip(kinds, self.sizes, strict=True)):
            if _KINDS[kind][1] != size:
                given = f"argument {i} is a {kind.__name__} of {_KINDS[kind][1]} bytes"
                raise LaunchError(f"{self.name}: {given}, the kernel's has {size}")
        packer = struct.Struct("<" + "".join(_KINDS[kind][0] for kind in kinds))
        self._packers[kinds] = packer
        return packer

    def _attribute(self, driver: Any, attribute: Any) -> Any:
        return checked(driver, driver.cuFuncGetAttribute(attribute, self.function), f"{self.name}: {attribute.name}")


class Kernels:
    """Kernels by (module, kernel), loaded at first use and kept until `close`."""

    def __init__(self, cuda: Cuda, cubins: Cubins, shared_limit: int) -> None:
        self._cuda = cuda
        self._shared_limit = shared_limit
        self._cubins = cubins
        self._modules: dict[str, Any] = {}
        self._kernels: dict[tuple[str, str], Kernel] = {}

    def get(self, module: str, kernel: str) -> Kernel:
        """Raises DeviceError if the module does not compile or load, LaunchError if it has no such kernel."""
        return self._kernels.get((module, kernel)) or self._load(module, kernel)

    def close(self) -> None:
        driver = self._cuda.driver
        self._kernels.clear()
        for module in self._modules.values():
            driver.cuModuleUnload(module)
        self._modules.clear()

    def _load(self, module: str, kernel: str) -> Kernel:
        driver = self._cuda.driver
        name = f"{module}.{kernel}"
        with _loading_allowed(driver):
            if module not in self._modules:
                cubin = self._cubins[module]
                self._modules[module] = checked(driver, driver.cuModuleLoadData(cubin), f"loading {module}.cu")
            error, function = driver.cuModuleGetFunction(self._modules[module], kernel.encode())
            if error == driver.CUresult.CUDA_ERROR_NOT_FOUND:
                raise LaunchError(f"{name}: {module}.cu has no kernel of that name")
            checked(driver, (error,), f"finding {name}")
            loaded = Kernel(self._cuda, function, name, self._shared_limit)
        self._kernels[module, kernel] = loaded
        return loaded


def _parameter_sizes(driver: Any, function: Any) -> Iterator[int]:
    """Sizes in bytes of a kernel's parameters, in order, as the driver reads them from the cubin."""
    index = 0
    while True:
        error, _, size = driver.cuFuncGetParamInfo(function, index)
        if error == driver.CUresult.CUDA_ERROR_INVALID_VALUE:  # past the last one
            return
        checked(driver, (error,), f"parameter {index}")
        yield int(size)
        index += 1


@contextmanager
def _loading_allowed(driver: Any) -> Iterator[None]:
    """Loading code is not recorded and harms no capture, but a capturing thread must say so first."""
    relaxed = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    before = checked(driver, driver.cuThreadExchangeStreamCaptureMode(relaxed), "capture mode")
    try:
        yield
    finally:
        checked(driver, driver.cuThreadExchangeStreamCaptureMode(before), "capture mode")
