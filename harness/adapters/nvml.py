"""What the driver's management library (NVML, through nvidia-ml-py) says of a GPU: clocks, temperature, throttling.

Everything is optional: without the package, the library or the right to ask, what is absent is recorded as absent.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from harness.schema import GpuState

T = TypeVar("T")

# Bits of nvmlDeviceGetCurrentClocksEventReasons, as NVML's header documents them.
REASONS = {
    0x1: "gpu_idle",
    0x2: "applications_clocks_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}


class GpuMonitor:
    """Asks NVML about one GPU, by UUID (32 hex digits). `absent` says in one line why it cannot."""

    def __init__(self, uuid: str) -> None:
        self.absent = ""
        self._nvml: Any = None
        self._handle: Any = None
        try:
            nvml = importlib.import_module("pynvml")
        except ImportError:
            self.absent = "nvidia-ml-py is not installed"
            return
        try:
            nvml.nvmlInit()
            self._handle = nvml.nvmlDeviceGetHandleByUUID(_dashed(uuid))
        except nvml.NVMLError as error:
            self.absent = f"NVML: {error}"
            return
        self._nvml = nvml

    def state(self) -> GpuState:
        """All that is known now."""
        if self._nvml is None:
            return GpuState(absent=self.absent)
        nvml, handle = self._nvml, self._handle
        limit = self._ask(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle))
        return GpuState(
            ecc=self._ask(lambda: bool(nvml.nvmlDeviceGetEccMode(handle)[0])),
            power_limit_w=None if limit is None else limit / 1000,
            sm_mhz=self._ask(lambda: int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM))),
            sm_most_mhz=self._ask(lambda: int(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM))),
            memory_mhz=self._ask(lambda: int(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM))),
            temperature_c=self.temperature_c(),
            reasons=self.reasons(),
        )

    def reasons(self) -> tuple[str, ...]:
        """Why clocks are below their most, at this moment; empty if nothing holds them back, or nothing is known."""
        if self._nvml is None:
            return ()
        bits = self._ask(lambda: int(self._nvml.nvmlDeviceGetCurrentClocksEventReasons(self._handle))) or 0
        return tuple(name for bit, name in REASONS.items() if bits & bit)

    def temperature_c(self) -> int | None:
        if self._nvml is None:
            return None
        nvml = self._nvml
        return self._ask(lambda: int(nvml.nvmlDeviceGetTemperature(self._handle, nvml.NVML_TEMPERATURE_GPU)))

    def close(self) -> None:
        if self._nvml is not None:
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()
            self._nvml = None

    def _ask(self, question: Callable[[], T]) -> T | None:
        """None where this GPU, driver or virtual machine does not answer."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None


def _dashed(uuid: str) -> str:
    """As NVML writes it: "GPU-8-4-4-4-12"."""
    return f"GPU-{uuid[:8]}-{uuid[8:12]}-{uuid[12:16]}-{uuid[16:20]}-{uuid[20:]}"
