"""The GPU device: cubins made by NVRTC, memory and streams from CuPy, launches and graphs through the CUDA driver.

Importing this package needs neither CuPy nor a GPU; making a CudaDevice does, and says in one line what is missing.
"""

from engine.devices.cuda.device import CudaDevice

__all__ = ["CudaDevice"]
