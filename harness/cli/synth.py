"""`zeroulp synth`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli.options import FILE


@click.command()
@click.argument("name")
@click.option("--quant", required=True, metavar="TYPE", help="F32, F16, BF16, Q8_0, Q4_0, ..., or a mix: Q4_K_M.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes on every machine.")
@click.option("-o", "--output", required=True, type=FILE, help="The .gguf file to write; whole or not at all.")
def synth(name: str, quant: str, seed: int, output: Path) -> None:
    """Write a synthetic model as a GGUF file.

    NAME is qwen3-tiny, qwen3-odd (widths that fit no block), or a published shape from qwen3-0.6b to qwen3-32b with
    random weights. Small models have real encoders behind them; big ones stream valid random blocks.

    \b
    Example:
      zeroulp synth qwen3-tiny --quant Q4_K_M -o tiny.gguf
    """
    from rich.console import Console
    from rich.progress import Progress

    from reference import synth as models

    console = Console(file=sys.stderr)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"{name} {quant}", total=None)
        models.synth(
            name,
            quant=quant,
            seed=seed,
            path=output,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    click.echo(f"{output}: {name} {quant}, seed {seed}, {output.stat().st_size:,} bytes")
