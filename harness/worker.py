"""A worker process: reads a job, does it, writes the answer whole. `python -m harness.worker < job`.

It ends when its parent does: the parent holds the other end of standard input.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import msgspec

from harness.adapters.devices import probe
from harness.adapters.settings import BadInput
from harness.adapters.user_kernel.run import check_kernel
from harness.job import Job, KernelJob, Probe, ProbeJob, ProcessJob, Refusal, RowJob
from harness.process import measure_process
from harness.row import make_row
from harness.schema import ProcessAnswer, Row
from harness.store import write_atomically
from harness.user_kernel import KernelAnswer


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    write_atomically(Path(job.answer), msgspec.json.encode(_answer(job)))


def _answer(job: Job) -> Row | ProcessAnswer | Probe | KernelAnswer | Refusal:
    if isinstance(job, RowJob):
        return make_row(job)
    if isinstance(job, KernelJob):
        return check_kernel(job.call, Path(job.cache))
    return measure_process(job) if isinstance(job, ProcessJob) else _probe(job)


def _end_with_parent() -> None:
    while os.read(sys.stdin.fileno(), 1):  # past Python's buffer, whose lock must be free when the process ends
        pass
    os._exit(1)


def _probe(job: ProbeJob) -> Probe | Refusal:
    try:
        return probe(job.device, Path(job.cache), ceilings=job.ceilings)
    except BadInput as error:
        return Refusal(refused=str(error))


if __name__ == "__main__":
    main()
