"""`zeroulp bench`: sweeps, and the kernels of a step."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.bench_command import command as bench_command
from harness.cli.crossover import crossover
from harness.cli.kernels import kernels
from harness.cli.options import FILE, json_option
from harness.cli.report import write_report
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.planning import Sweep

MOST_HOST_WORKERS = 2  # more would only take each other's cores


@click.group(invoke_without_command=True)
@click.pass_context
def bench(context: click.Context) -> None:
    """Sweeps of rows, each with its parity proof, and where a token's time goes.

    \b
    Examples:
      zeroulp bench allrows --where 'quant == "Q8_0"'
      zeroulp bench allrows harness/targets.toml --device cuda
      zeroulp bench kernels qwen3-8b:Q4_K_M
      zeroulp bench crossover qwen3-8b:Q4_K_M
      zeroulp bench command examples/numpy_engine.toml qwen3-tiny:Q8_0
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


bench.add_command(kernels)
bench.add_command(crossover)
bench.add_command(bench_command)


@bench.command()
@click.argument("config", type=FILE, required=False)
@click.option(
    "--where", metavar="EXPR", help="""Only rows for which this holds: 'quant == "Q8_0" and graph == "on"'."""
)
@click.option("--device", type=click.Choice(["auto", "host", "cuda"]), help="auto (default): cuda if there is a GPU.")
@click.option("--repeats", type=click.IntRange(min=1), help="Timed repeats of a row on a GPU.")
@click.option("--out", "results", type=FILE, help="The folder that run folders go into.  [default: results]")
@click.option("--resume", type=FILE, metavar="RUN", help="A run folder to complete: rows that it lacks are made.")
@click.option("--peer", metavar="llama-bench=PATH", help="A program to measure on the same files and shapes, on a GPU.")
@click.option("--peer-json", type=FILE, help="Or what it printed with `-o json` before: a file.")
@click.option("--print-config", is_flag=True, help="Print the default matrix as TOML, to start your own from.")
@json_option
def allrows(
    config: Path | None,
    where: str | None,
    device: str | None,
    repeats: int | None,
    results: Path | None,
    resume: Path | None,
    peer: str | None,
    peer_json: Path | None,
    print_config: bool,
    as_json: bool,
) -> int:
    """Make every row of a matrix of models x shapes x toggles, then the report.

    Without CONFIG.toml it takes the built-in matrix: tiny models on the host device, real shapes as well on a GPU.
    Each row runs in a process of its own and carries the proof, taken before and after its timed loop, that every way
    to compute its logits gives the same bits. Ctrl-C keeps the rows that are finished; --resume makes the others.

    With --peer the program runs directly after the first of our rows of each model and shape: the same GGUF, prompt and
    generated tokens from the same positions, all layers on one GPU, flash attention, float16 KV cache. The report shows
    both speeds and their ratio, and what the program says of its build and settings.

    \b
    Examples:
      bench-allrows
      bench-allrows --where 'quant == "Q8_0" and context < 100'
      bench-allrows --print-config > mine.toml; bench-allrows mine.toml
      bench-allrows --resume results/20260101T120000Z-abc123
      bench-allrows --peer llama-bench=$HOME/llama.cpp/build/bin/llama-bench --where 'model == "qwen3-8b"'

    Exit codes: 0 every row proven, 1 bits differ, 2 a row is missing or broken, 3 cannot tell, 130 interrupted.
    """
    if print_config:
        from harness.config import DEFAULT

        click.echo(DEFAULT.read_text(), nl=False)
        return edge.PASS
    from harness.progress import SweepProgress
    from harness.sweep import run_sweep

    if resume is None:
        beside = _Beside(peer=_peer(peer), json=peer_json)
        sweep = _fresh(config, where or "", device or "auto", repeats or 0, results or Path("results"), beside)
    else:
        if any(option is not None for option in (config, where, device, repeats, results, peer, peer_json)):
            raise BadCall("--resume takes matrix, options and folder from the run: give it alone")
        sweep = _resumed(resume)
    with SweepProgress(sys.stderr) as progress:
        folder = run_sweep(sweep, progress)
    return write_report(folder, as_json=as_json)


@dataclass(frozen=True, kw_only=True)
class _Beside:
    """The peer: a program, a file of its output, or neither."""

    peer: Path | None = None
    json: Path | None = None


def _peer(text: str | None) -> Path | None:
    """The program of `--peer NAME=PATH`. Raises BadCall for another name."""
    if text is None:
        return None
    name, _, path = text.partition("=")
    if name != "llama-bench" or not path:
        raise BadCall(f"--peer {text}: expected llama-bench=PATH")
    return Path(path).absolute()


def _fresh(config: Path | None, where: str, device: str, repeats: int, results: Path, beside: _Beside) -> Sweep:
    from harness.config import DEFAULT, read_text

    command = ["bench-allrows", *([str(config)] if config else [])]
    options: list[tuple[str, object]] = [
        ("--where", where),
        ("--device", "" if device == "auto" else device),
        ("--repeats", repeats),
    ]
    options += [("--peer", f"llama-bench={beside.peer}" if beside.peer else ""), ("--peer-json", beside.json)]
    for option, value in options:
        command += [option, str(value)] if value else []
    return _sweep(
        read_text(config or DEFAULT),
        str(config.resolve()) if config else "",
        where=where,
        device=device,
        repeats=repeats,
        results=results,
        resume=None,
        command=shlex.join(command),
        beside=beside,
    )


def _resumed(folder: Path) -> Sweep:
    """The same sweep again, from what the run's plan says of it."""
    from harness.store import read_run

    plan = read_run(folder).plan
    if not plan.matrix:
        raise BadCall(f"{folder}: its plan holds no matrix, it cannot be resumed")
    return _sweep(
        plan.matrix,
        plan.matrix_path,
        where=plan.where,
        device=plan.device,
        repeats=plan.repeats,
        results=folder.parent,
        resume=folder,
        command=plan.command,
        beside=_Beside(peer=_peer(plan.peer or None)),
    )


def _sweep(
    matrix: str,
    matrix_path: str,
    *,
    where: str,
    device: str,
    repeats: int,
    results: Path,
    resume: Path | None,
    command: str,
    beside: _Beside,
) -> Sweep:
    from harness.adapters.devices import chosen, require
    from harness.config import DEFAULT, parse_config
    from harness.planning import Sweep

    parsed = parse_config(matrix, Path(matrix_path) if matrix_path else Path(DEFAULT.name))
    on = chosen(device)
    require(on)
    workers = min(MOST_HOST_WORKERS, edge.cores()) if on == "host" else 1
    return Sweep(
        config=parsed,
        matrix=matrix,
        matrix_path=matrix_path,
        where=where,
        device=on,
        repeats=repeats,
        results=results,
        resume=resume,
        cache=edge.cache_folder(),
        command=command,
        environment=edge.child_environment(workers),
        workers=workers,
        peer=beside.peer,
        peer_json=beside.json,
    )
