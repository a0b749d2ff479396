"""The GPU device: cubins made by NVRTC, memory and streams from CuPy, launches and graphs through the CUDA driver.

Importing this package needs neither CuPy nor a GPU; `open_cuda` does, and says in one line what is missing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.devices.cuda.device import CudaDevice


def open_cuda(*, kernels: Path | None = None, cache: Path | None = None) -> CudaDevice:
    """The first visible GPU. Raises NoDevice.

    `kernels` is the folder of .cu files (the package's own by default), `cache` the folder that keeps cubins.
    """
    from engine.devices.cuda.device import CudaDevice
    from engine.devices.cuda.support import require_cuda

    return CudaDevice(require_cuda(), kernels=kernels, cache=cache)
