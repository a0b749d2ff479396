"""Compiles kernel modules without a GPU and checks what came out: PTX rules, registers, spills, shared memory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from engine.device import DeviceError
from engine.devices.cuda.nvrtc import OPTIONS, Source, compile_source
from engine.devices.cuda.ptx import Finding, contraction, kernels, lint

ARCHITECTURES = (80, 90, 100)
CONTRACTING = tuple("--fmad=true" if option == "--fmad=false" else option for option in OPTIONS)
COMPILING = re.compile(r"Compiling entry function '(\w+)'")
NUMBERS = {
    "registers": re.compile(r"Used (\d+) registers"),
    "shared": re.compile(r"(\d+) bytes smem"),
    "stack": re.compile(r"(\d+) bytes stack frame"),
    "spill_stores": re.compile(r"(\d+) bytes spill stores"),
    "spill_loads": re.compile(r"(\d+) bytes spill loads"),
}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What ptxas says of one kernel; bytes except for the registers. `shared` is static shared memory."""

    registers: int = 0
    shared: int = 0
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0


@dataclass(frozen=True, kw_only=True)
class KernelReport:
    module: str
    kernel: str
    architecture: int
    resources: Resources
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings


def check_sources(sources: Iterable[Source], architectures: tuple[int, ...] = ARCHITECTURES) -> list[KernelReport]:
    """Reports of every kernel for every architecture. Raises DeviceError if a module does not compile."""
    jobs = [(source, architecture) for source in sources for architecture in architectures]
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        reports = pool.map(lambda job: check_source(job[0], architecture=job[1]), jobs)
        return [report for module in reports for report in module]


def check_source(source: Source, *, architecture: int, options: tuple[str, ...] = OPTIONS) -> list[KernelReport]:
    """Reports of the kernels of one module, built with `options`."""
    real, virtual = f"sm_{architecture}", f"compute_{architecture}"
    built = compile_source(source, architecture=real, options=(*options, "--ptxas-options=-v"))
    without = built if options == OPTIONS else compile_source(source, architecture=virtual)
    contracted = compile_source(source, architecture=virtual, options=CONTRACTING)
    resources = parse_resources(built.log)
    names = list(kernels(built.ptx))
    if set(names) != set(resources):
        raise DeviceError(f"{source.name}: kernels {sorted(names)} but ptxas reports {sorted(resources)}")
    findings = lint(built.ptx, architecture=architecture) + contraction(built.ptx, without.ptx, contracted.ptx)
    for name, used in resources.items():
        if used.spill_stores or used.spill_loads:
            text = f"spills {used.spill_stores} bytes, reloads {used.spill_loads}"
            findings.append(Finding(kernel=name, rule="spill", text=text))
    return [
        KernelReport(
            module=Path(source.name).stem,
            kernel=name,
            architecture=architecture,
            resources=resources[name],
            findings=tuple(finding for finding in findings if finding.kernel == name),
        )
        for name in names
    ]


def parse_resources(log: str) -> dict[str, Resources]:
    """By kernel, from what ptxas prints with -v."""
    found: dict[str, dict[str, int]] = {}
    numbers: dict[str, int] = {}
    for line in log.splitlines():
        compiling = COMPILING.search(line)
        if compiling:
            numbers = found.setdefault(compiling[1], {})
        for name, pattern in NUMBERS.items():
            match = pattern.search(line)
            if match:
                numbers[name] = int(match[1])
    return {kernel: Resources(**values) for kernel, values in found.items()}
