"""`zeroulp bench crossover`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from harness.cli import edge
from harness.cli.kernels import chosen_model
from harness.cli.options import FILE, json_option
from harness.errors import BadCall


@click.command()
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--device", type=click.Choice(["auto", "host", "cuda"]), default="auto", help="Only a GPU has times.")
@click.option("--out", type=FILE, default=Path(), show_default=True, help="The folder that the table goes into.")
@json_option
def crossover(models: tuple[str, ...], device: str, out: Path, as_json: bool) -> int:
    """Up to how many rows a matvec is faster than few or the gemm, for every weight of some models, on a GPU.

    MODEL is the path of a .gguf file or NAME:QUANT of a synthetic one. Each type and shape is multiplied by 1, 2, 4, 8,
    16 and 32 rows in both ways with cold weights. The table that is written is called after the GPU; in the folder
    engine/ops/crossover the engine finds it and chooses by it. The bits do not depend on it.

    \b
    Examples:
      zeroulp bench crossover qwen3-8b:Q4_K_M qwen3-8b:Q8_0
      zeroulp bench crossover model.gguf --out engine/ops/crossover

    Exit codes: 0 measured, 2 broken or a bad call.
    """
    from harness.adapters.crossover import measure, table_name
    from harness.adapters.devices import chosen, require
    from harness.crossover import crossovers, lines, table_text
    from harness.store import require_folder, write_atomically

    if chosen(device) == "host":
        raise BadCall("bench crossover: the host device emulates kernels, their times mean nothing; it needs a GPU")
    require("cuda")
    require_folder(out, "folder of the table")
    files = [chosen_model(model).path for model in models]
    gpu, found = measure(files, cache=edge.cache_folder(), say=lambda text: click.echo(text, err=True))
    path = out / table_name(gpu)
    command = shlex.join(["zeroulp", "bench", "crossover", *models])
    write_atomically(path, table_text(gpu, found, command=command).encode())
    if as_json:
        import msgspec

        most = [
            {"type": type_, "outputs": outputs, "cols": cols, "matvec_rows": rows}
            for (type_, outputs, cols), rows in crossovers(found).items()
        ]
        facts = {"exit_code": edge.PASS, "gpu": gpu, "table": str(path), "weights": most}
        click.echo(json.dumps({**facts, "times": msgspec.to_builtins(found)}, indent=2))
        return edge.PASS
    click.echo("\n".join(lines(found)))
    click.echo(f"written: {path}")
    return edge.PASS
