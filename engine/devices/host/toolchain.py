"""The C++ compiler of this machine, and the flags that make it round as the GPU does."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reference.spec.errors import NoDevice

Mode = Literal["fast", "check"]

MEND = "install one, for example: apt-get install g++"

BASE_FLAGS = (
    "-std=c++17",
    "-O2",
    "-g1",
    "-gdwarf-4",  # what older addr2line versions read
    "-fPIC",
    "-U_FORTIFY_SOURCE",  # some distributions set it: their memcpy cannot be one that the checker watches
    "-fno-exceptions",
    "-fno-rtti",
    "-fvisibility=hidden",
    "-fno-strict-aliasing",
    "-fwrapv",
    "-ffp-contract=off",  # every rounding of reference/NUMERICS.md and no other
    "-fno-math-errno",
    "-fstack-clash-protection",  # a deep frame meets the page below its stack, not another stack
    "-Wno-unknown-pragmas",
)
# Undefined behaviour traps, and every load and store of a kernel calls the checker (csrc/module.h).
CHECK_FLAGS = (
    "-DSIMT_CHECK",
    "-fsanitize=thread",
    "-fsanitize=undefined,float-cast-overflow",
    "-fno-sanitize=vptr,null,return",
    "-fsanitize-undefined-trap-on-error",
)
CLANG_CHECK_FLAGS = ("-fno-sanitize=function", "-mllvm", "-tsan-instrument-read-before-write=1")


@dataclass(frozen=True, kw_only=True)
class Compiler:
    path: str
    version: str
    machine_flags: tuple[str, ...]  # instructions of this CPU beyond those that all CPUs of its kind have

    @property
    def is_clang(self) -> bool:
        return "clang" in self.version

    def flags(self, mode: Mode) -> tuple[str, ...]:
        """All flags for a kernel; `runtime_flags` without those of the checker."""
        check = (*CHECK_FLAGS, *(CLANG_CHECK_FLAGS if self.is_clang else ())) if mode == "check" else ()
        return (*self.runtime_flags, *check)

    @property
    def runtime_flags(self) -> tuple[str, ...]:
        unique = () if self.is_clang else ("-fno-gnu-unique",)  # every copy of a module has its own statics
        return (*BASE_FLAGS, *unique, *self.machine_flags)


@functools.cache
def machine_flags() -> tuple[str, ...]:
    """Fused multiply-add and half conversion as instructions, where the CPU has them: the same bits, faster."""
    if platform.machine() != "x86_64":
        return ()
    info = Path("/proc/cpuinfo")
    words = set(info.read_text().split()) if info.exists() else set()
    return ("-mavx2", "-mfma", "-mf16c") if {"avx2", "fma", "f16c"} <= words else ()


def _compiles_cpp(path: str) -> bool:
    """A `gcc` without the g++ package lacks cc1plus."""
    answer = subprocess.run([path, "-print-prog-name=cc1plus"], capture_output=True, text=True, check=False)
    return "clang" in path or os.path.isabs(answer.stdout.strip())


def find_compiler(path: str | None, *, cpu_extensions: bool = True) -> Compiler:
    """The compiler at `path`, or the first C++ compiler on PATH. Raises NoDevice with the command that mends it."""
    names = ("g++", "clang++", "gcc", "clang") if path is None else (path,)
    for name in names:
        found = shutil.which(name)
        if found is None or (path is None and not _compiles_cpp(found)):
            continue
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        if version.returncode == 0:
            return Compiler(path=found, version=version.stdout, machine_flags=machine_flags() if cpu_extensions else ())
    wanted = "no C++ compiler on PATH (g++ or clang++)" if path is None else f"no C++ compiler at {path}"
    raise NoDevice(f"the host device needs a C++ compiler: {wanted}; {MEND}")
