"""The edge to the process: its environment, its exit codes, its one-line errors."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

PASS, FAILED, BROKEN, CANNOT_TELL = 0, 1, 2, 3
INTERRUPTED = 130


def cache_folder() -> Path:
    """Where models, kernels and oracle logits are kept: $XDG_CACHE_HOME/zeroulp, else ~/.cache/zeroulp."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "zeroulp"


def cores() -> int:
    return len(os.sched_getaffinity(0))


def child_environment(workers: int) -> dict[str, str]:
    """For worker processes: this one's, with the cores shared out among their linear algebra threads."""
    threads = str(max(1, cores() // workers))
    limits = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(limits, threads)}


def run(command: click.Command, arguments: Sequence[str], *, name: str) -> int:
    """Run a command and turn however it ends into an exit code. Errors a user can mend are one line, never a trace."""
    from harness.errors import BadCall
    from reference.spec.errors import BadInput

    try:
        result = command.main(args=list(arguments), prog_name=name, standalone_mode=False)
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except click.ClickException as error:
        return _refuse(error.format_message())
    except (BadInput, BadCall) as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, click.Abort) as error:
        cause = error.__cause__ or error  # click turns a KeyboardInterrupt into an Abort
        click.echo(f"zeroulp: {str(cause) or 'interrupted'}", err=True)
        return INTERRUPTED
    except SystemExit:
        # Click's answer to a broken pipe: the reader of our output has gone, and whatever the verdict was, it was not
        # heard. Its exit code, 1, would say that bits differ.
        return CANNOT_TELL
    except MemoryError:
        return _refuse("this machine has not enough memory for it")
    except Exception:
        traceback.print_exc()
        return _refuse("this is a fault of zeroulp itself, not of its input; the lines above say where")
    return result if isinstance(result, int) else PASS


def _refuse(text: str) -> int:
    click.echo("zeroulp: " + " ".join(text.split()), err=True)
    return BROKEN
