"""`zeroulp doctor`: what this machine can do, what is missing, and the command that mends it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from harness.cli import edge
from harness.cli.options import json_option

if TYPE_CHECKING:
    from harness.schema import Ceiling

State = Literal["ok", "missing", "note"]
MARKS: dict[State, str] = {"ok": "ok", "missing": "MISSING", "note": "note"}
WANTED_DISK = 2**30  # bytes: models, kernels and results of the default matrix on the host
WANTED_MEMORY = 2**31


@dataclass(frozen=True, kw_only=True)
class Finding:
    what: str
    state: State
    detail: str
    mend: str = ""


@click.command()
@click.option("--ceilings/--no-ceilings", default=True, help="Measure the limits of the GPU, which takes seconds.")
@json_option
def doctor(ceilings: bool, as_json: bool) -> int:
    """Say what this machine can do and lacks, and how to mend it.

    It looks at Python and its packages, the C++ compiler of the host device, the GPU and its driver, free disk and
    memory, and the cache folder. On a GPU it measures the ceilings that rows are held against.

    \b
    Example:
      zeroulp doctor --no-ceilings

    Exit codes: 0 if bench-allrows can run here (a GPU is not needed for that), 2 if something it needs is missing.
    """
    findings = [*_software(), _compiler(), *_gpu(ceilings), *_room()]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            mend = f"; mend it with: {finding.mend}" if finding.mend else ""
            click.echo(f"{MARKS[finding.state]:<8} {finding.what:<{width}}  {finding.detail}{mend}")
    return edge.BROKEN if any(finding.state == "missing" for finding in findings) else edge.PASS


def _software() -> list[Finding]:
    import platform

    from harness.environment import libraries, version
    from reference import NUMERICS

    found = ", ".join(f"{name} {number}" for name, number in libraries().items())
    return [
        Finding(what="zeroulp", state="ok", detail=f"{version()}, numerics {NUMERICS}"),
        Finding(what="system", state="ok", detail=f"{platform.platform()}, {edge.cores()} cores"),
        Finding(what="python", state="ok", detail=f"{platform.python_version()}: {found}"),
    ]


def _compiler() -> Finding:
    """The host device needs one; without it nothing runs but the oracle."""
    from engine.devices.host.toolchain import MEND, find_compiler
    from reference.spec.errors import NoDevice

    try:
        compiler = find_compiler(None)
    except NoDevice as error:
        return Finding(what="compiler", state="missing", detail=str(error), mend=MEND)
    return Finding(what="compiler", state="ok", detail=f"{compiler.path}, {compiler.version.splitlines()[0]}")


def _gpu(ceilings: bool) -> list[Finding]:
    """Not having a GPU is a note: nothing needs one. Having one that does not work is a fault."""
    from engine.device import DeviceError
    from harness.adapters.devices import probe
    from reference.spec.errors import BadInput

    try:
        found = probe("cuda", edge.cache_folder(), ceilings=ceilings)
    except BadInput as error:
        return [Finding(what="gpu", state="note", detail=f"{error}; the host device does the work without one")]
    except DeviceError as error:
        return [Finding(what="gpu", state="missing", detail=str(error), mend="nvidia-smi, which says what it is doing")]
    assert found.gpu is not None
    facts = (
        f"{found.gpu.name}, compute capability {found.gpu.compute_capability}, driver for CUDA {found.gpu.driver},"
        f" CUDA {found.gpu.cuda}, {found.free_bytes / 2**20:,.0f} of {found.gpu.memory_bytes / 2**20:,.0f} MiB free"
    )
    return [
        Finding(what="gpu", state="ok", detail=facts),
        *(Finding(what=f"ceiling {item.name}", state="ok", detail=_ceiling(item)) for item in found.ceilings),
    ]


def _ceiling(item: Ceiling) -> str:
    return f"{item.median:,.4g} {item.unit} ({item.min:,.4g} to {item.max:,.4g}, {item.samples} samples)"


def _room() -> list[Finding]:
    import os
    import shutil

    cache = edge.cache_folder()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    disk = shutil.disk_usage(there).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    writable = os.access(there, os.W_OK)
    return [
        Finding(
            what="cache",
            state="ok" if writable else "missing",
            detail=f"{cache}, {_size(cache) / 2**20:,.0f} MiB in it" if writable else f"{cache}: cannot be written to",
            mend="" if writable else "export XDG_CACHE_HOME=<a folder you may write to>",
        ),
        _enough("disk", disk, WANTED_DISK, f"rm -r {cache}/models, or a larger disk"),
        _enough("memory", memory, WANTED_MEMORY, "end other programs"),
    ]


def _enough(what: str, free: int, wanted: int, mend: str) -> Finding:
    detail = f"{free / 2**30:,.1f} GiB free"
    if free >= wanted:
        return Finding(what=what, state="ok", detail=detail)
    return Finding(what=what, state="missing", detail=f"{detail}, {wanted / 2**30:,.0f} GiB are needed", mend=mend)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
