"""What NVML says is recorded; that it says nothing is recorded too."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from harness.adapters.nvml import GpuMonitor
from harness.schema import GpuState

UUID = "0123456789abcdef0123456789abcdef"


class FakeNvml(ModuleType):
    """A GPU that runs hot, of which some things cannot be asked."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0

    class NVMLError(Exception):
        pass

    def __init__(self, *, refuses: tuple[str, ...] = ()) -> None:
        super().__init__("pynvml")
        self.refuses = refuses
        self.closed = False

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {
            "nvmlInit": None,
            "nvmlDeviceGetHandleByUUID": "handle",
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetEccMode": [1, 1],
            "nvmlDeviceGetClockInfo": 1500,
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetTemperature": 88,
            "nvmlDeviceGetCurrentClocksEventReasons": 0x4 | 0x40 | 0x8000,
            "nvmlShutdown": None,
        }
        if name not in answers:
            raise AttributeError(name)

        def answer(*arguments: object) -> Any:
            self.closed |= name == "nvmlShutdown"
            if name == "nvmlDeviceGetHandleByUUID":
                assert arguments == ("GPU-01234567-89ab-cdef-0123-456789abcdef",)
            if name in self.refuses:
                raise self.NVMLError("Not Supported")
            return answers[name]

        return answer


def monitor(monkeypatch: pytest.MonkeyPatch, module: ModuleType | None) -> GpuMonitor:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return GpuMonitor(UUID)


def test_everything_that_it_says_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = FakeNvml()
    found = monitor(monkeypatch, nvml)
    assert found.state() == GpuState(
        ecc=True,
        power_limit_w=700.0,
        sm_mhz=1500,
        sm_most_mhz=1980,
        memory_mhz=1500,
        temperature_c=88,
        reasons=("sw_power_cap", "hw_thermal_slowdown"),
    )
    found.close()
    assert nvml.closed


def test_what_it_refuses_is_unknown_and_the_rest_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = ("nvmlDeviceGetEccMode", "nvmlDeviceGetTemperature", "nvmlDeviceGetCurrentClocksEventReasons")
    state = monitor(monkeypatch, FakeNvml(refuses=refused)).state()
    assert (state.ecc, state.temperature_c, state.reasons) == (None, None, ())
    assert state.power_limit_w == 700.0


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        (None, "nvidia-ml-py is not installed"),
        (FakeNvml(refuses=("nvmlInit",)), "NVML: Not Supported"),
        (FakeNvml(refuses=("nvmlDeviceGetHandleByUUID",)), "NVML: Not Supported"),
    ],
    ids=["no package", "no library", "another gpu"],
)
def test_without_it_the_absence_is_recorded(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None, absent: str
) -> None:
    found = monitor(monkeypatch, module)
    assert found.state() == GpuState(absent=absent)
    assert (found.reasons(), found.temperature_c()) == ((), None)
    found.close()
