"""The facts of the machine, the code and the libraries under which rows were made."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import msgspec

from harness.adapters.settings import NUMERICS
from harness.code_hash import TREE, code_hash, package_folder
from harness.job import Probe
from harness.schema import Environment

LIBRARIES = ("numpy", "gguf", "msgspec", "cupy-cuda13x", "cupy-cuda12x", "cuda-bindings")


def environment(device: str, probe: Probe, *, command: str) -> Environment:
    """Everything a reader needs to judge or repeat a run."""
    commit, dirty = checkout()
    facts = Environment(
        id="",
        machine=platform.machine(),
        os=platform.platform(),
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpu=probe.gpu,
        python=platform.python_version(),
        libraries=libraries(),
        git_commit=commit,
        git_dirty=dirty,
        tree=code_hash(TREE),
        version=version(),
        numerics=NUMERICS,
        compile_flags={device: probe.compile_flags},
        command=command,
        ceilings=probe.ceilings,
        gpu_state=probe.gpu_state,
    )
    stable = msgspec.structs.replace(facts, tree="", command="", ceilings=(), gpu_state=None)
    return msgspec.structs.replace(facts, id=hashlib.blake2b(msgspec.json.encode(stable), digest_size=6).hexdigest())


def device_id(device: str, probe: Probe) -> str:
    """What makes rows of one device different from those of another: the GPU itself, or the kind of CPU."""
    if device == "host":
        return f"host {platform.machine()}"
    return f"cuda {probe.gpu.name} {probe.gpu.uuid}" if probe.gpu is not None else "cuda"


def libraries() -> dict[str, str]:
    found: dict[str, str] = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def version() -> str:
    """Of the installed distribution."""
    return metadata.version("zeroulp")


def checkout() -> tuple[str, bool]:
    """git_state of the checkout that this code runs from."""
    return git_state(package_folder("harness").parent)


def git_state(folder: Path) -> tuple[str, bool]:
    """Commit of a checkout whose top is `folder`, and whether tracked files differ from it; ("", False) elsewhere."""
    top = _git(folder, "rev-parse", "--show-toplevel")
    if not top or Path(top) != folder.resolve():
        return "", False
    return _git(folder, "rev-parse", "HEAD"), bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""  # no git here
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or sys.platform)
