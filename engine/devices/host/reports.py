"""What the runtime found, in words: addresses become buffer names and variables, instructions become source lines."""

from __future__ import annotations

import ctypes
import re

from engine.devices.host import native
from engine.devices.host.arena import Arena
from engine.devices.host.module import KernelModule, Worker

MAX_REPORTS = 64
_FAULTS = (
    "access out of bounds",
    "uninitialised read",
    "race: write after write",
    "race: write after read",
    "race: read after write",
    "write to a const argument",
    "access to a buffer that is not an argument",
    "access to another thread's stack",
    "misaligned access",
    "access before pdl_wait to memory that a kernel writes",
    "no thread executes pdl_wait",
)
_RACES = range(2, 5)
_NO_PDL_WAIT = 10
_MANY = 0xFFFF  # of checker.h: threads of several warps
_DYNAMIC, _STACK = 2, 3


def _where(report: native.Report, module: KernelModule, worker: int, arena: Arena) -> str:
    if report.space == _DYNAMIC:
        return "dynamic shared memory"
    if report.space == _STACK:
        return "a local variable"
    shared = module.shared_variable_at(worker, report.address)
    if shared is not None:
        variable, offset = shared
        name = re.search(r"E\d+(\w+?)(?:_\d+)?$", variable.name)
        return f"byte {offset} of __shared__ {name[1] if name else variable.name}"
    return arena.describe(report.address)


def access_reports(worker: Worker, number: int, module: KernelModule, arena: Arena) -> tuple[str, ...]:
    """Takes the checker's reports, one line each."""
    rows = (native.Report * MAX_REPORTS)()
    count = worker.library.simt_check_reports(rows, MAX_REPORTS)
    lines = []
    for report in rows[:count]:
        if report.fault == _NO_PDL_WAIT:
            lines.append(_FAULTS[report.fault])
            continue
        thread = "several threads" if report.other_thread == _MANY else f"thread {report.other_thread}"
        other = f" against block {report.other_block}, {thread}" if report.fault in _RACES else ""
        lines.append(
            f"{_FAULTS[report.fault]}, {report.bytes} bytes at {_where(report, module, number, arena)}"
            f" ({module.line_of(number, report.pc - 1)}, block {report.block}, thread {report.thread}{other})"
        )
    return tuple(lines)


def kernel_error(text: str, number: int, module: KernelModule, arena: Arena) -> str:
    """The runtime's own error text with its `@pc` and `#address` replaced."""
    text = re.sub(r"@0x([0-9a-f]+)", lambda m: module.line_of(number, int(m[1], 16)), text)
    return re.sub(r"address #0x([0-9a-f]+)", lambda m: arena.describe(int(m[1], 16)), text).replace("#(nil)", "0")


def counters(workers: list[Worker]) -> dict[str, int]:
    """The runtimes' counters, added up. Loads and stores are counted in check mode only."""
    totals: dict[str, int] = {}
    for worker in workers:
        row = worker.counters()
        for name, _ in ctypes.Structure.__getattribute__(row, "_fields_"):
            totals[name] = totals.get(name, 0) + getattr(row, name)
    return totals
