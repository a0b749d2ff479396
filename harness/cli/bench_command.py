"""`zeroulp bench command`: an engine that is not ours, proven and measured."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from harness.cli import edge
from harness.cli.kernels import chosen_model
from harness.cli.options import FILE, json_option
from harness.cli.report import write_report
from harness.errors import BadCall

DEFAULT_SHAPES = ("24+4", "260+4")


@click.command("command")
@click.argument("engine", metavar="ENGINE.toml")
@click.argument("model")
@click.option(
    "--shape", "shapes", multiple=True, metavar="P+G",
    help="Prompt and generated tokens of a row; can be repeated.  [default: 24+4 and 260+4]",
)  # fmt: skip
@click.option(
    "--repeats", type=click.IntRange(min=1), default=3, show_default=True, help="Timed repeats, if it has speeds."
)
@click.option(
    "--out", "results", type=FILE, default=Path("results"), show_default=True, help="The folder for run folders."
)
@json_option
def command(engine: str, model: str, shapes: tuple[str, ...], repeats: int, results: Path, as_json: bool) -> int:
    """Rows of an engine that is not ours: a command that takes tokens and writes logits.

    ENGINE.toml says how it is called and what it provides; MODEL is the path of a .gguf file or NAME:QUANT of a
    synthetic one. For each shape the command runs twice, and a third time token by token if it offers that: its logits
    are compared with the oracle within its bound, and with its own. Speeds are those that it reports. The run folder
    is like any other: `zeroulp report`, `compare`, `gate` and `parity` read it. docs/your-engine.md has the contract.

    \b
    Examples:
      zeroulp bench command examples/numpy_engine.toml qwen3-tiny:Q8_0
      zeroulp bench command engine.toml model.gguf --shape 128+32 --shape 2048+32 --repeats 5

    Exit codes: 0 every row proven, 1 logits differ, 2 it crashed, hung or wrote something else; or a bad call.
    """
    from harness.adapters.command_bench import CommandSweep, run_command_sweep
    from harness.command_engine import read_engine
    from harness.progress import SweepProgress
    from harness.schema import Shape
    from harness.store import require_folder

    found = read_engine(engine, edge.child_environment(1))
    chosen = [_shape(text) for text in shapes or DEFAULT_SHAPES]
    if len(set(chosen)) != len(chosen):
        raise BadCall("--shape: the same shape twice")
    file = chosen_model(model)
    require_folder(results, "results folder")
    words = ["zeroulp", "bench", "command", engine, model, *(w for text in shapes for w in ("--shape", text))]
    sweep = CommandSweep(
        engine=found,
        file=file,
        shapes=tuple(Shape(prompt=p, generated=g, context=p + g) for p, g in chosen),
        repeats=repeats,
        cache=edge.cache_folder(),
        results=results,
        command=shlex.join([*words, "--repeats", str(repeats)]),
    )
    with SweepProgress(sys.stderr) as progress:
        folder = run_command_sweep(sweep, progress)
    return write_report(folder, as_json=as_json)


def _shape(text: str) -> tuple[int, int]:
    prompt, plus, generated = text.partition("+")
    if not (plus and all(word.isascii() and word.isdigit() and 0 < int(word) < 10**7 for word in (prompt, generated))):
        raise BadCall(f"--shape {text!r}: expected prompt and generated tokens such as 128+32")
    return int(prompt), int(generated)
