"""What can go wrong on a device beyond engine.device."""

from __future__ import annotations

from engine.device import DeviceError


class StaleGraph(DeviceError):
    """A graph was replayed after a buffer it uses was freed."""


class KernelFault(DeviceError):
    """A kernel crashed, deadlocked, or misused a barrier or a warp operation."""


class GuardDamage(DeviceError):
    """The bytes around a buffer were overwritten."""


class AccessFault(DeviceError):
    """The access checker saw a race, an access out of bounds, an uninitialised read or the like."""

    def __init__(self, message: str, reports: tuple[str, ...]) -> None:
        super().__init__(message)
        self.reports = reports
