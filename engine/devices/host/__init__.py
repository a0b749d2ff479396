"""The kernels of engine/kernels on the CPU: compiled as C++, run thread by thread, every misuse an error."""

from engine.devices.host.device import HostDevice
from engine.devices.host.graph import HostCapture, HostGraph, Launch
from engine.devices.host.lint import frozen_values
from engine.devices.host.memory import HostBuffer
from engine.devices.host.stream import HostStream

__all__ = ["HostBuffer", "HostCapture", "HostDevice", "HostGraph", "HostStream", "Launch", "frozen_values"]
