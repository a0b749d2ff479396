"""`zeroulp bench kernels`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option, toggle_option
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.adapters.models import ModelFile
    from harness.counters import Counted
    from harness.profile import Profile

SEED = 1  # of synthetic models, as in the default matrix


@click.command()
@click.argument("model", metavar="MODEL")
@click.option(
    "--rows", type=click.IntRange(1, 8192), default=1, show_default=True, help="More than 1: a pass of so many as well."
)
@click.option(
    "--context", type=click.IntRange(2, 10**6), default=128, show_default=True, help="Tokens in the cache before."
)
@click.option("--device", type=click.Choice(["auto", "host", "cuda"]), default="auto", help="Only a GPU has times.")
@click.option(
    "--out", "results", type=FILE, default=Path("results"), show_default=True, help="The folder for run folders."
)
@click.option("--ncu", metavar="PROGRAM", help="Read each kernel's bytes by the GPU's counters, too, with this ncu.")
@toggle_option
@json_option
def kernels(
    model: str,
    rows: int,
    context: int,
    device: str,
    results: Path,
    ncu: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> int:
    """Where a token's time goes: every kernel of a step at every shape, timed by itself on a GPU.

    MODEL is the path of a .gguf file or NAME:QUANT of a synthetic one. The kernels are those that the session launches
    in one decode step and, with --rows N, in one pass of N tokens. Each is timed with a cold L2 cache over the weights
    of all layers; what an empty kernel takes in its place is subtracted and counted with the gaps. Shares are of the
    ceilings measured in the same run. With --ncu the steps run once more below Nsight Compute, and the bytes that the
    GPU read stand beside the bytes that were counted from the launches.

    \b
    Examples:
      zeroulp bench kernels qwen3-8b:Q4_K_M
      zeroulp bench kernels qwen3-8b:Q4_K_M --ncu ncu
      zeroulp bench kernels model.gguf --rows 512 --context 4096 --set pdl=off

    Exit codes: 0 measured, 2 broken, a bad call, or figures above 105 % of a ceiling, 3 counters that cannot be read.
    """
    from harness.adapters.devices import chosen, require
    from harness.adapters.kernels import profile
    from harness.counters import find_program
    from harness.profile import write_profiles
    from harness.store import ENVIRONMENT, new_run_folder, require_folder, write_record
    from reports.run_report import write_report

    if chosen(device) == "host":
        raise BadCall("bench kernels: the host device emulates kernels, their times there mean nothing; it needs a GPU")
    require("cuda")
    require_folder(results, "results folder")
    program = find_program(ncu) if ncu else None
    file = chosen_model(model)
    counted, unread = _counted(program, file.path, rows, context, settings) if program else ([], "")
    made, profiles = profile(
        file,
        cache=edge.cache_folder(),
        context=context,
        rows=rows,
        settings=settings,
        command=_command(model, rows, context, settings),
        say=_say,
        counted=counted,
    )
    folder = new_run_folder(results)
    write_record(folder / ENVIRONMENT, made)
    write_profiles(folder, profiles)
    verdict = write_report(folder)
    code = verdict.exit_code or (edge.CANNOT_TELL if unread else edge.PASS)
    if as_json:
        import msgspec

        facts = {
            "exit_code": code,
            "verdict": verdict.headline,
            "counters": unread or ("read" if ncu else "not asked for"),
        }
        click.echo(json.dumps({**facts, "run": str(folder), "profiles": msgspec.to_builtins(profiles)}, indent=2))
        return code
    for item in profiles:
        click.echo("\n".join([*table(item), *counters_table(item)]))
    for reason in verdict.reasons:
        click.echo(reason)
    if unread:
        click.echo(f"? counters cannot be read: {unread}")
    click.echo(f"{verdict.headline}; report: {folder / 'report.html'}")
    return code


def _say(text: str) -> None:
    click.echo(text, err=True)


def _counted(program: Path, model: Path, rows: int, context: int, settings: Sequence[str]) -> tuple[list[Counted], str]:
    """Launches by the GPU's counters, or none and one line that says why they cannot be read."""
    import tempfile

    import msgspec

    from harness.adapters.counted import CountJob
    from harness.counters import Unreadable, count

    cache = str(edge.cache_folder())
    job = CountJob(model_path=str(model), cache=cache, context=context, rows=rows, settings=tuple(settings))
    _say(f"reading counters with {program}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_bytes(msgspec.json.encode(job))
        try:
            return count(program, path, environment=edge.child_environment(1)), ""
        except Unreadable as error:
            return [], str(error)


def _command(model: str, rows: int, context: int, settings: Sequence[str]) -> str:
    toggles = [word for setting in settings for word in ("--set", setting)]
    words = ["zeroulp", "bench", "kernels", model, "--rows", str(rows), "--context", str(context), *toggles]
    return shlex.join(words)


def chosen_model(text: str) -> ModelFile:
    """The file of a path, or of NAME:QUANT, made if it is not there. Raises BadCall or BadInput."""
    from harness.adapters.models import (
        require_disk,
        require_known,
        synthetic,
        synthetic_bytes,
        synthetic_path,
        user_file,
    )
    from reference.synth import synth_names

    name, colon, quant = text.rpartition(":")
    if text in synth_names() and not Path(text).exists():
        raise BadCall(f"{text}: expected a type, too, as in {text}:Q8_0, or the path of a .gguf file")
    if not colon or Path(text).exists():
        return user_file(Path(text))
    require_known(name, quant)
    cache = edge.cache_folder()
    if not synthetic_path(name, quant, SEED, cache).exists():
        require_disk(cache, synthetic_bytes(name, quant), f"{name} {quant}")
        click.echo(f"making {name} {quant}", err=True)
    return synthetic(name, quant, SEED, cache)


HEADINGS = (
    "kernel", "shape", "calls", "us each", "us a step", "share", "bytes", "GB/s", "TOP/s", "of ceiling", "ceiling",
)  # fmt: skip
COUNTERS = ("kernel", "shape", "counted", "read", "read / counted")
WORDS = ("kernel", "shape", "ceiling")  # columns set flush left


def table(profile: Profile) -> list[str]:
    """Lines for a terminal: what was taken apart, a line for each kernel and shape, gaps and sum."""
    from reports.profile import figures, title

    return ["", title(profile), *_aligned([HEADINGS, *figures(profile)]), ""]


def counters_table(profile: Profile) -> list[str]:
    """Lines for a terminal: counted bytes beside what the GPU's counters say; none where those were not read."""
    from reports.profile import by_counters

    lines = by_counters(profile)
    return [*_aligned([COUNTERS, *lines]), ""] if lines else []


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Columns of words flush left, of figures flush right; the first line has their names."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            f"{cell:<{width}}" if heading in WORDS else f"{cell:>{width}}"
            for heading, cell, width in zip(lines[0], line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
