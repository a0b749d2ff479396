"""Opening a device. The CUDA one is imported only when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.device import Device, DeviceName
from engine.devices.errors import AccessFault, GuardDamage, KernelFault, StaleGraph
from reference.spec.errors import BadInput, NoDevice

DEVICES: tuple[DeviceName, ...] = ("host", "cuda")

__all__ = [
    "DEVICES",
    "AccessFault",
    "GuardDamage",
    "KernelFault",
    "StaleGraph",
    "available_devices",
    "open_device",
    "why_unavailable",
]


def open_device(name: str, *, cache_dir: Path | None = None, **options: Any) -> Device:
    """The device `name`, one of DEVICES. Raises NoDevice, with what to do about it, if it is not here.

    `cache_dir` keeps compiled kernels; None means ~/.cache/zeroulp. `options` are those of HostDevice or CudaDevice.
    """
    if name == "host":
        from engine.devices.host import HostDevice

        return HostDevice(cache_dir=cache_dir, **options)
    if name == "cuda":
        from engine.devices.cuda import CudaDevice

        return CudaDevice(cache_dir=cache_dir, **options)
    raise BadInput(f"device {name}: unknown, expected one of {', '.join(DEVICES)}")


def why_unavailable(name: str) -> str | None:
    """None if the device can be opened here, otherwise the line that says why not."""
    try:
        if name == "cuda":
            from engine.devices.cuda.support import require_cuda

            require_cuda()
        else:
            from engine.devices.host.toolchain import find_compiler

            find_compiler(None)
    except NoDevice as error:
        return str(error)
    return None


def available_devices() -> Sequence[DeviceName]:
    return [name for name in DEVICES if why_unavailable(name) is None]
