"""A worker for the tests of runner and sweep: `python fake_worker.py LOG MODE...` does as MODE says to each job.

answer, die, hang, fail: to every row. prompt=N:MODE does MODE to rows with that prompt, answer to the others.
Each row job appends its id to LOG.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from harness.job import Job, Probe, ProbeJob
from harness.schema import Gpu
from harness.store import write_atomically
from suites.harness.records import row as stored_row

GPU = Gpu(name="Some GPU", uuid="0", compute_capability="9.0", multiprocessors=1, memory_bytes=1, driver="1", cuda="1")


def main(log: str, mode: str) -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    if isinstance(job, ProbeJob):
        probe = Probe(
            description="a machine",
            gpu=GPU if job.device == "cuda" else None,
            free_bytes=2**30,
            compile_flags="-O2",
            ceilings=(),
        )
        write_atomically(Path(job.answer), msgspec.json.encode(probe))
        return
    with Path(log).open("a") as file:
        file.write(job.row.id + "\n")
    chosen, _, special = mode.rpartition(":")
    if chosen:
        mode = special if job.row.shape.prompt == int(chosen.partition("=")[2]) else "answer"
    if mode == "die":
        print("about to die", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV)
    if mode == "hang":
        time.sleep(60)
    if mode == "fail":
        sys.exit("no answer from me")
    row = msgspec.structs.replace(
        stored_row(job.row.id, device=job.row.device),
        model=job.row.model,
        shape=job.row.shape,
        toggles=job.row.toggles,
        environment=job.environment,
    )
    write_atomically(Path(job.answer), msgspec.json.encode(row))


if __name__ == "__main__":
    main(*sys.argv[1:])
