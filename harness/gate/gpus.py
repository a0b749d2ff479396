"""The GPUs of this machine by UUID, and the lock that lets one gate at a time measure on each."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from harness.errors import BadCall
from harness.gate.processes import plain_uuid
from harness.locks import locked


def visible_gpus(environment: dict[str, str]) -> tuple[str, ...]:
    """UUIDs in the order of the driver, of those that CUDA_VISIBLE_DEVICES leaves. Raises BadCall without a driver."""
    command = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise BadCall(
            f"the GPUs cannot be listed by nvidia-smi ({error}); `zeroulp doctor` says more, --device host needs none"
        ) from None
    every = tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
    named = environment.get("CUDA_VISIBLE_DEVICES")
    return every if named is None else _left(every, named.split(","))


def _left(every: Sequence[str], named: Sequence[str]) -> tuple[str, ...]:
    """As CUDA reads it: places or beginnings of UUIDs, up to the first that is neither."""
    left: list[str] = []
    for name in (text.strip() for text in named):
        if name.isdecimal() and int(name) < len(every):
            left.append(every[int(name)])
        elif name and (found := [uuid for uuid in every if uuid.startswith(name)]):
            left.append(found[0])
        else:
            break
    return tuple(left)


def choose(gpus: Sequence[str], wanted: str) -> str:
    """The GPU to measure on: the one that was asked for, else the first. Raises BadCall if it is not there."""
    if not gpus:
        raise BadCall("no GPU is visible: expected one, or --device host")
    if not wanted:
        return gpus[0]
    found = [uuid for uuid in gpus if plain_uuid(uuid) == plain_uuid(wanted)]
    if not found:
        raise BadCall(f"--gpu {wanted}: expected one of {', '.join(gpus)}")
    return found[0]


def gpu_lock(gpu: str, cache: Path) -> AbstractContextManager[None]:
    """Held while processes are measured on a GPU; the host device has a lock of its own."""
    return locked(cache / "gpus" / (plain_uuid(gpu) or "host"))
