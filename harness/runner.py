"""Jobs in processes of their own, a few at a time. A process that dies or hangs ends its job, not the sweep."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.child import ending as in_words
from harness.child import stop
from harness.job import Job

WORKER = (sys.executable, "-P", "-m", "harness.worker")  # -P: never the packages of the working directory
POLL_SECONDS = 0.02
LOG_TAIL_BYTES = 4000


@dataclass(frozen=True, kw_only=True)
class Task:
    key: str
    job: Job  # its `answer` is the file the worker writes
    log: Path  # takes the worker's output


@dataclass(frozen=True, kw_only=True)
class Started:
    key: str


@dataclass(frozen=True, kw_only=True)
class Finished:
    key: str
    ending: Literal["answered", "died", "timed out"]
    answer: bytes  # empty unless answered
    reason: str  # how it ended otherwise, one line
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Pool:
    """How workers are run. `environment` is all they see of the environment."""

    workers: int
    timeout: float  # seconds for one job
    environment: Mapping[str, str]
    command: Sequence[str] = WORKER


@dataclass(frozen=True, kw_only=True)
class _Running:
    task: Task
    process: subprocess.Popen[bytes]
    start: float


def run(tasks: Iterable[Task], pool: Pool) -> Iterator[Started | Finished]:
    """Run tasks in order, `pool.workers` at a time; tells when one starts and how it ended.

    However the caller leaves the loop, no worker outlives it.
    """
    waiting = deque(tasks)
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < pool.workers:
                task = waiting.popleft()
                running.append(_start(task, pool))
                yield Started(key=task.key)
            for item in list(running):
                finished = _look(item, pool.timeout)
                if finished is not None:
                    running.remove(item)
                    yield finished
            time.sleep(POLL_SECONDS)
    finally:
        for item in running:
            _kill(item.process)


def _start(task: Task, pool: Pool) -> _Running:
    answer = Path(task.job.answer)
    answer.unlink(missing_ok=True)
    # A session of its own: Ctrl-C on the terminal reaches the sweep, which then decides.
    with task.log.open("wb") as log:
        process = subprocess.Popen(
            list(pool.command),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=dict(pool.environment),
            start_new_session=True,
        )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it died at once; its exit status says how
        process.stdin.write(msgspec.json.encode(task.job) + b"\n")
        process.stdin.flush()
    return _Running(task=task, process=process, start=time.monotonic())


def _look(item: _Running, timeout: float) -> Finished | None:
    """None while it runs."""
    seconds = time.monotonic() - item.start
    code = item.process.poll()
    if code is None:
        if seconds <= timeout:
            return None
        _kill(item.process)
        return _finished(item, "timed out", f"no answer after {timeout:.0f} s", seconds)
    _close(item.process)
    answer = Path(item.task.job.answer)
    if code == 0 and answer.exists():
        content = answer.read_bytes()
        answer.unlink()
        item.task.log.unlink()
        return Finished(key=item.task.key, ending="answered", answer=content, reason="", seconds=seconds)
    return _finished(item, "died", _death(code, item.task.log), seconds)


def _finished(item: _Running, ending: Literal["died", "timed out"], reason: str, seconds: float) -> Finished:
    return Finished(key=item.task.key, ending=ending, answer=b"", reason=reason, seconds=seconds)


def _death(code: int, log: Path) -> str:
    """One line: the signal or exit status, and the last thing it said."""
    how = in_words(code)
    if code >= 0:
        how += " without an answer"
    elif -code == signal.SIGKILL:
        how += " (the kernel does this when memory runs out)"
    tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip().splitlines()
    return f"{how}; {tail[-1].strip()}" if tail else how


def _kill(process: subprocess.Popen[bytes]) -> None:
    stop(process)
    _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        with suppress(BrokenPipeError):  # unread input of a process that is gone
            process.stdin.close()
