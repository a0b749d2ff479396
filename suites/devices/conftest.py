"""The GPU alone, for what only a GPU can show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.devices import why_unavailable
from engine.devices.cuda import CudaDevice

KERNELS = Path(__file__).parent / "kernels"


@pytest.fixture
def cuda(request: pytest.FixtureRequest) -> Iterator[CudaDevice]:
    """A GPU device of this test's own, with the kernels of suites/devices/kernels besides the engine's."""
    if request.config.getoption("--device") == "host":
        pytest.skip("about the GPU, and --device is host")
    reason = why_unavailable("cuda")
    if reason is not None:
        pytest.skip(reason)
    opened = CudaDevice(kernel_dirs=(KERNELS,))
    yield opened
    opened.close()
