"""A program of somebody else, run to its end: what it said, and never left running."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


def run_to_end(
    command: Sequence[str], *, folder: Path, environment: Mapping[str, str], timeout: float, log: Path
) -> int | None:
    """Exit status (negative: the signal that killed it), None if it had not ended by then. `log` takes its output.

    Raises OSError if it cannot be started.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End it and what it started, if it still runs."""
    if process.poll() is None:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ending(code: int) -> str:
    """In words: "exit status 3", "killed by SIGSEGV"."""
    if code >= 0:
        return f"exit status {code}"
    return f"killed by {signal.Signals(-code).name if -code in signal.valid_signals() else f'signal {-code}'}"
