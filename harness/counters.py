"""Bytes that kernels read from memory by the GPU's own counters, as Nsight Compute (ncu) reads them.

The steps run in a process of their own under ncu, kernel after kernel with a cold cache; its lines are joined to the
launches by their order, and every name must be the one that was launched.
"""

from __future__ import annotations

import csv
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.child import ending, run_to_end
from harness.errors import BadCall

METRIC = "dram__bytes_read.sum"
UNITS = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}
CHILD = ("-m", "harness.adapters.counted")
SECONDS = 300.0  # until a call counts as hung
# One metric is one pass over each kernel. Clocks stay as they are: bytes do not depend on them.
OPTIONS = (
    "--csv", "--page", "details", "--print-units", "base", "--metrics", METRIC, "--profile-from-start", "off",
    "--clock-control", "none", "--cache-control", "all",
)  # fmt: skip


class Unreadable(Exception):
    """The counters cannot be read here: one line that says why. Nothing is wrong with the kernels."""


@dataclass(frozen=True, kw_only=True)
class Counted:
    """One launch."""

    kernel: str
    read_bytes: float


def find_program(text: str) -> Path:
    """By name or path. Raises BadCall."""
    found = shutil.which(text)
    if found is None:
        raise BadCall(
            f"--ncu {text}: no such program; expected ncu of Nsight Compute, which comes with the CUDA toolkit"
        )
    return Path(found)


def count(program: Path, job: Path, *, environment: Mapping[str, str], seconds: float = SECONDS) -> list[Counted]:
    """The launches of a job (a file with a harness.adapters.counted.CountJob) in their order.

    Raises Unreadable where ncu has no counters to give, or the steps did not end below it.
    """
    command = [str(program), *OPTIONS, sys.executable, *CHILD, str(job)]
    log = job.with_suffix(".log")
    try:
        code = run_to_end(command, folder=job.parent, environment=environment, timeout=seconds, log=log)
    except OSError as error:
        raise Unreadable(f"{program}: cannot be run ({error.strerror})") from None
    if code is None:
        raise Unreadable(f"{program}: no answer after {seconds:.0f} s")
    return parse(log.read_text(errors="replace"), code=code)


def parse(text: str, *, code: int = 0) -> list[Counted]:
    """What ncu printed until it ended with `code`. Raises Unreadable without figures, or for one that is no number."""
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None or code:
        raise Unreadable(_reason(lines, code))
    found = []
    for row in csv.DictReader(lines[start:]):
        if row.get("Metric Name") != METRIC:
            continue
        value, unit = (row.get("Metric Value") or "").replace(",", ""), row.get("Metric Unit") or ""
        read = _bytes(value, unit)
        if not 0 <= read < math.inf:
            raise Unreadable(f"ncu printed {METRIC} as {value!r} {unit!r}, expected a number of bytes")
        found.append(Counted(kernel=(row.get("Kernel Name") or "").partition("(")[0], read_bytes=read))
    if not found:
        raise Unreadable(f"ncu printed no {METRIC}")
    return found


def _bytes(value: str, unit: str) -> float:
    """NaN for what is none."""
    try:
        return float(value) * UNITS[unit]
    except (ValueError, KeyError):
        return math.nan


def joined(counted: Sequence[Counted], launched: Sequence[str]) -> list[float]:
    """Bytes read by each launch. Raises BadCall if ncu saw other kernels than were launched."""
    names = [item.kernel for item in counted]
    if names != list(launched):
        place = next((i for i, (a, b) in enumerate(zip(names, launched, strict=False)) if a != b), None)
        detail = f"{len(names)} kernels instead of {len(launched)}"
        if place is not None:
            detail = f"{names[place]} instead of {launched[place]} at launch {place}"
        raise BadCall(f"ncu saw {detail}: its bytes cannot be joined to the launches")
    return [item.read_bytes for item in counted]


def _reason(lines: Sequence[str], code: int) -> str:
    """ncu's own line, if it said one."""
    errors = [line.partition("== ")[2] for line in lines if line.startswith("==ERROR==")]
    others = [line.strip() for line in lines if line.strip() and not line.startswith("==PROF==")]
    why = errors[0] if errors else others[-1] if others else "it said nothing"
    return f"ncu ended with {ending(code)}: {why[:300]}"
