"""Opening a device. The CUDA one is imported only when it is asked for."""

from __future__ import annotations

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
]


def open_device(name: str, **options: Any) -> Device:
    """The device `name`, one of DEVICES; `options` are those of HostDevice or CudaDevice.

    Both take cache_dir: Path | None, the folder compiled kernels are kept in; None means ~/.cache/zeroulp. Raises NoDevice,
    with what to do about it, if the device is not here.
    """
    if name == "host":
        from engine.devices.host import HostDevice

        return HostDevice(**options)
    if name == "cuda":
        from engine.devices.cuda import CudaDevice

        return CudaDevice(**options)
    raise BadInput(f"device {name}: unknown, expected one of {', '.join(DEVICES)}")


def available_devices() -> dict[DeviceName, str | None]:
    """Per device None if it can be opened here, otherwise the line that says why not."""
    return {name: _why_not(name) for name in DEVICES}


def _why_not(name: DeviceName) -> str | None:
    try:
        open_device(name).close()
    except NoDevice as error:
        return str(error)
    return None
