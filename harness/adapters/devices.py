"""Opening devices and asking what they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from engine.device import Device
from engine.devices import open_device, why_unavailable
from engine.devices.cuda import CudaDevice
from engine.devices.cuda.ceilings import Measured, measure_ceilings
from engine.devices.cuda.nvrtc import OPTIONS
from engine.devices.cuda.support import checked
from engine.devices.host import HostDevice
from engine.devices.host.toolchain import find_compiler
from harness.adapters.nvml import GpuMonitor
from harness.job import Probe
from harness.schema import Ceiling, Gpu
from reference.spec.errors import NoDevice


def chosen(name: str) -> str:
    """The device that `auto` means here: cuda if a GPU answers, else host."""
    return name if name != "auto" else "host" if why_unavailable("cuda") else "cuda"


def require(name: str) -> None:
    """Raises NoDevice, with what is missing and how to mend it, if a device is not here."""
    reason = why_unavailable(name)
    if reason is not None:
        raise NoDevice(reason)


@contextmanager
def opened(name: str, cache: Path) -> Iterator[Device]:
    """A device by name; compiled kernels are kept below `cache`. Raises NoDevice with what is missing."""
    device = open_device(name, cache_dir=cache)
    try:
        yield device
    finally:
        device.close()


def probe(name: str, cache: Path, *, ceilings: bool) -> Probe:
    """Look at a device and compile all its kernels on the way; on a GPU measure its ceilings if asked."""
    with opened(name, cache) as device:
        assert isinstance(device, HostDevice | CudaDevice)
        device.precompile()
        if isinstance(device, HostDevice):
            flags = " ".join(find_compiler(None).flags("fast"))
            return _probe(device, None, flags, ())
        return gpu_probe(device, ceilings=ceilings)


def gpu_probe(device: CudaDevice, *, ceilings: bool) -> Probe:
    """The same for a GPU that is open already; nothing is compiled that is not needed."""
    gpu = gpu_facts(device)
    with closing(GpuMonitor(gpu.uuid)) as monitor:  # before the ceilings: it says how the GPU was found
        state = monitor.state()
    found = gpu_ceilings(device) if ceilings else ()
    return msgspec.structs.replace(_probe(device, gpu, " ".join(OPTIONS), found), gpu_state=state)


def _probe(device: Device, gpu: Gpu | None, flags: str, ceilings: tuple[Ceiling, ...]) -> Probe:
    return Probe(
        description=device.description,
        gpu=gpu,
        free_bytes=device.free_bytes(),
        compile_flags=flags,
        ceilings=ceilings,
    )


def gpu_ceilings(device: CudaDevice) -> tuple[Ceiling, ...]:
    found = measure_ceilings(device)
    ceilings = [
        _ceiling("read", "GB/s", found.read_bytes_per_s, 1e-9),
        _ceiling("int8_mma", "TOP/s", found.int8_operations_per_s, 1e-12),
        _ceiling("fp32_fma", "TOP/s", found.float32_operations_per_s, 1e-12),
        _ceiling("graph_node", "us", found.node_s, 1e6),
    ]
    if found.node_pdl_s is not None:
        ceilings.append(_ceiling("graph_node_pdl", "us", found.node_pdl_s, 1e6))
    return tuple(ceilings)


def _ceiling(name: str, unit: str, measured: Measured, scale: float) -> Ceiling:
    return Ceiling(
        name=name,
        unit=unit,
        median=measured.median * scale,
        min=measured.low * scale,
        max=measured.high * scale,
        samples=measured.repeats,
    )


def gpu_facts(device: CudaDevice) -> Gpu:
    runtime, driver = device.cuda.cupy.cuda.runtime, device.cuda.driver
    properties = runtime.getDeviceProperties(0)
    identity = checked(driver, driver.cuDeviceGetUuid(0), "cuDeviceGetUuid")
    return Gpu(
        name=device.description,
        uuid=identity.bytes.hex(),
        compute_capability="{}.{}".format(*device.capability),
        multiprocessors=device.multiprocessors,
        memory_bytes=int(properties["totalGlobalMem"]),
        driver=_version(int(runtime.driverGetVersion())),
        cuda=_version(int(runtime.runtimeGetVersion())),
    )


def _version(number: int) -> str:
    """CUDA's 13020 is 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"
