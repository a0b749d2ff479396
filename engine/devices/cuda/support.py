"""What the cuda device stands on: CuPy, the driver's bindings and a GPU. Each one that is missing is told apart."""

from __future__ import annotations

import ctypes
import importlib
import warnings
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from engine.device import DeviceError
from reference.spec.errors import NoDevice

DRIVER_LIBRARY = "libcuda.so.1"
INSTALL = "install zeroulp with its extra cuda13 (or cuda12), for example `uv run --extra cuda13 ...`"
MINIMUM_CAPABILITY = (8, 0)  # int8 mma.sync and cp.async; older GPUs have no kernel here


@dataclass(frozen=True, kw_only=True)
class Cuda:
    """The modules a GPU is driven with, imported once it is known that there is one."""

    cupy: ModuleType
    driver: ModuleType  # cuda.bindings.driver


def require_cuda() -> Cuda:
    """Import CuPy and the bindings and check that a GPU answers. Raises NoDevice with one line that says what to do."""
    if not _driver_installed():
        raise NoDevice(f"device cuda: no NVIDIA driver on this machine ({DRIVER_LIBRARY} was not found)")
    cupy = _import("cupy", "CuPy")
    driver = _import("cuda.bindings.driver", "cuda-bindings")
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NoDevice(f"device cuda: {_refusal(str(error))}") from None
    if count < 1:
        raise NoDevice("device cuda: the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    return Cuda(cupy=cupy, driver=driver)


def _driver_installed() -> bool:
    try:
        ctypes.CDLL(DRIVER_LIBRARY)
    except OSError:
        return False
    return True


def _import(module: str, name: str) -> ModuleType:
    """CuPy warns of toolkits that it does not find; what is needed is tried here, so a warning says nothing more."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module(module)
        except ImportError as error:
            why = "is not installed" if isinstance(error, ModuleNotFoundError) else f"does not import ({error})"
            raise NoDevice(f"device cuda: {name} {why}: {INSTALL}") from None


def _refusal(error: str) -> str:
    if "cudaErrorNoDevice" in error:
        return "the NVIDIA driver sees no GPU (is CUDA_VISIBLE_DEVICES empty?)"
    if "cudaErrorInsufficientDriver" in error:
        return "the NVIDIA driver is too old for the CUDA version of CuPy: update it, or use the other extra"
    return f"the NVIDIA driver does not answer ({error})"


def checked(driver: Any, result: tuple[Any, ...], what: str) -> Any:
    """The value of a driver call `(error, value...)`: None, the value, or a tuple. Raises DeviceError naming `what`."""
    error, *values = result
    if error != driver.CUresult.CUDA_SUCCESS:
        raise DeviceError(f"cuda: {what} failed: {error_text(driver, error)}")
    return None if not values else values[0] if len(values) == 1 else tuple(values)


def error_text(driver: Any, error: Any) -> str:
    """CUDA_ERROR_X (what it means)."""
    _, text = driver.cuGetErrorString(error)
    return f"{error.name} ({text.decode() if text else 'no description'})"
