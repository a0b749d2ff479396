"""Compiles a kernel file with NVRTC. No GPU, driver, nvcc or include path is needed, only the NVRTC library."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from engine.device import DeviceError
from reference.spec.errors import NoDevice

# The rounding of every float operation stands in the source: nothing may be contracted, flushed or approximated.
OPTIONS = ("-std=c++17", "--fmad=false", "--ftz=false", "--prec-div=true", "--prec-sqrt=true")
PORTABLE = (*OPTIONS, "-DZEROULP_PORTABLE")  # without what only sm_90 and later have
KERNELS = Path(__file__).resolve().parents[2] / "kernels"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kernel file with the header files that it can include by name."""

    name: str  # file name, for messages
    text: str
    headers: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """`cubin` is empty for a virtual architecture (compute_90); `log` holds warnings and ptxas's report."""

    cubin: bytes
    ptx: str
    log: str


def read_sources(folders: Sequence[Path]) -> dict[str, Source]:
    """Every kernel file of the folders by module name. Raises DeviceError for a name that stands in two folders."""
    headers = {path.name: path.read_text() for folder in folders for path in sorted(folder.glob("*.cuh"))}
    sources: dict[str, Source] = {}
    for path in (path for folder in folders for path in sorted(folder.glob("*.cu"))):
        if path.stem in sources:
            raise DeviceError(f"module {path.stem}: a kernel file of that name in two folders, {path} is one")
        sources[path.stem] = Source(name=path.name, text=path.read_text(), headers=headers)
    return sources


@cache
def bindings() -> ModuleType:
    """cuda.bindings.nvrtc with its library loaded (from a wheel, a toolkit or the system). Raises NoDevice."""
    try:
        nvrtc = importlib.import_module("cuda.bindings.nvrtc")
        nvrtc.nvrtcVersion()
    except ImportError:
        raise NoDevice("NVRTC: cuda-bindings is not installed (it comes with the extras cuda13 and cuda12)") from None
    except RuntimeError as error:  # what cuda-pathfinder raises for a library that is nowhere
        first = str(error).splitlines()[0]
        raise NoDevice(f"NVRTC: the library was not found; install nvidia-cuda-nvrtc ({first})") from None
    return nvrtc


@cache
def nvrtc_version() -> str:
    """As "13.0"."""
    error, major, minor = bindings().nvrtcVersion()
    if error:
        raise DeviceError(f"NVRTC: {error.name}")
    return f"{major}.{minor}"


def compile_source(source: Source, *, architecture: str, options: Sequence[str] = OPTIONS) -> Compiled:
    """Compile for `sm_90` (cubin and PTX) or `compute_90` (PTX only). Raises DeviceError with NVRTC's log."""
    nvrtc = bindings()
    headers = list(source.headers.items())
    error, program = nvrtc.nvrtcCreateProgram(
        source.text.encode(),
        source.name.encode(),
        len(headers),
        [text.encode() for _, text in headers],
        [name.encode() for name, _ in headers],
    )
    if error:
        raise DeviceError(f"NVRTC: {source.name}: {error.name}")
    try:
        flags = [f"--gpu-architecture={architecture}", *options]
        (error,) = nvrtc.nvrtcCompileProgram(program, len(flags), [flag.encode() for flag in flags])
        log = _fetch(nvrtc, program, "ProgramLog").decode().rstrip("\0").strip()
        if error:
            raise DeviceError(f"{source.name} does not compile for {architecture} ({error.name}):\n{log}")
        ptx = _fetch(nvrtc, program, "PTX").decode().rstrip("\0")
        return Compiled(cubin=_fetch(nvrtc, program, "CUBIN"), ptx=ptx, log=log)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _fetch(nvrtc: ModuleType, program: object, what: str) -> bytes:
    error, size = getattr(nvrtc, f"nvrtcGet{what}Size")(program)
    if error or size == 0:
        return b""
    content = bytearray(size)
    (error,) = getattr(nvrtc, f"nvrtcGet{what}")(program, content)
    if error:
        raise DeviceError(f"NVRTC: no {what}: {error.name}")
    return bytes(content)
