"""`zeroulp quality`: what the exact form's rounding costs against float64 mathematics."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option, read_tokens
from harness.errors import BadCall
from harness.words import plural

if TYPE_CHECKING:
    from harness.adapters.quality import ModelQuality
    from harness.quality import OpQuality, TapError

DEFAULT_TOKENS = 32
MOST_TOKENS = 2**20
LONG_SECONDS = 10.0  # from here on it says how long it will take
NOTE = "ideal is float64 mathematics on the same dequantised weights: no rounding of activations, KV cache or sums"


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--tokens",
    "count",
    type=click.IntRange(1, MOST_TOKENS),
    metavar="N",
    help=f"How many seeded random tokens to look at.  [default: {DEFAULT_TOKENS}]",
)
@click.option("--tokens-file", type=FILE, help="A text file of token ids instead, apart by commas or white space.")
@click.option(
    "--kv", type=click.Choice(["f16", "f32"]), default="f16", show_default=True, help="KV storage of the exact form."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the random tokens.  [default: 1]")
@click.option("--layers", type=click.IntRange(min=1), metavar="N", help="Only the first N layers; no logits then.")
@json_option
def quality(
    model: Path,
    count: int | None,
    tokens_file: Path | None,
    kv: str,
    seed: int | None,
    layers: int | None,
    as_json: bool,
) -> int:
    """Compare the exact form with the ideal one on the same tokens.

    The exact form is the answer that every engine path gives to the last bit; the ideal one is float64 mathematics on
    the same dequantised weights. Their difference is what the canonical order, quantised activations and the KV type
    cost: KL divergence, NMSE and top-1 agreement of the logits, and for each op, worst over the layers, the distance in
    ulp and the relative error of the op alone on the same inputs, and the relative error carried through the model.
    Distances in ulp are huge where a sum cancels to about zero: read them with the values beside them. It runs in
    NumPy: a tiny model takes seconds, a real shape minutes to hours, and it says how long.

    \b
    Examples:
      zeroulp quality tiny.gguf
      zeroulp quality qwen3-8b.gguf --tokens 8 --layers 2
      zeroulp quality tiny.gguf --tokens-file text.ids --kv f32 --json

    Exit codes: 0 measured, 1 a NaN or infinity in either form, 2 a bad call.
    """
    from harness.adapters import quality as forms
    from harness.adapters.models import open_file

    if tokens_file is not None and (count is not None or seed is not None):
        raise BadCall("--tokens-file gives the tokens: --tokens N and --seed are for random ones")
    opened = open_file(model)
    if tokens_file is not None:
        ids, source = read_tokens(None, tokens_file), str(tokens_file)
    else:
        chosen = 1 if seed is None else seed
        ids = forms.seeded_tokens(opened, count or DEFAULT_TOKENS, chosen).tolist()
        source = f"random, seed {chosen}"
    with _Progress() as progress:
        found = forms.measure_quality(opened, ids, kv=kv, layers=layers, on_layer=progress.layer)
    from reference import NUMERICS

    facts = {
        "model": str(model),
        "weight_types": forms.weight_types(opened),
        "numerics": NUMERICS,
        "kv": kv,
        "tokens": len(ids),
        "source": source,
        "layers": found.layers,
        "of_layers": opened.spec.layers,
    }
    if as_json:
        click.echo(json.dumps({**facts, **_plain(found), "note": NOTE}, indent=2))
    else:
        _print(facts, found)
    return edge.FAILED if found.not_finite else edge.PASS


class _Progress:
    """A bar on a terminal; elsewhere one line that says how long it will take, if that is long."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar = Progress(console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("layers", total=None)

    def __enter__(self) -> _Progress:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def layer(self, done: int, total: int, seconds: float, to_come: float) -> None:
        if done == 1 and to_come >= LONG_SECONDS:
            text = f"layer 1 of {total} took {seconds:.1f} s: about {_duration(to_come)} to go"
            self._console.print(f"{text}; --layers N looks at the first N layers only")
        elif to_come >= LONG_SECONDS and not self._console.is_terminal:
            self._console.print(f"layer {done} of {total}: about {_duration(to_come)} to go")
        self._bar.update(self._task, total=total, completed=done)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _plain(found: ModelQuality) -> dict[str, Any]:
    """For JSON, which knows no infinity: what is not finite becomes null."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(found)), parse_constant=lambda _: None)
    if found.logits is not None:
        plain["logits"]["top1_agreement"] = found.logits.top1_same / found.logits.positions
    return plain


def _print(facts: dict[str, Any], found: ModelQuality) -> None:
    types = ", ".join(f"{name} {size / 2**20:,.1f} MiB" for name, size in facts["weight_types"].items())
    click.echo(f"{facts['model']}: exact (numerics {facts['numerics']}, kv {facts['kv']}) against ideal")
    click.echo(
        f"matrices {types}; {plural(facts['tokens'], 'token')} ({facts['source']}); {plural(found.layers, 'layer')}"
    )
    if found.ops:
        _print_ops(found.ops)
    if found.logits is not None:
        logits = found.logits
        click.echo(
            f"KL divergence: mean {logits.kl_mean:.3g}, 99th percentile {logits.kl_p99:.3g}, most {logits.kl_max:.3g}"
            f" nats (position {logits.kl_max_position})"
        )
        same, positions = logits.top1_same, logits.positions
        click.echo(f"NMSE of the logits: {logits.nmse:.3g}")
        click.echo(f"top-1 agreement: {same} of {positions} positions ({100 * same / positions:.2f} %)")
    elif not found.not_finite:
        click.echo(f"logits were not compared: only {found.layers} of {facts['of_layers']} layers were computed")
    click.echo(NOTE)
    if found.not_finite:
        click.echo(f"NOT FINITE: {found.not_finite}; what follows it was not compared")


def _print_ops(ops: tuple[OpQuality, ...]) -> None:
    """One line for each op: alone on the same inputs, then carried through the model."""
    lines = [("op", "worst ulp", "there, exact for ideal", "relative rms", "there", "carried", "there")]
    for op in ops:
        row, element = op.ulp.worst_index
        place = _place(op.ulp, f"row {row}, element {element}: {op.ulp.left:.6g} for {op.ulp.right:.6g}")
        lines.append(
            (
                *(op.op, f"{op.ulp.worst_ulp:,}", place if op.ulp.worst_ulp else ""),
                *(f"{op.alone.alone_rms:.1e}", _place(op.alone), f"{op.carried.carried_rms:.1e}", _place(op.carried)),
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for line in lines:
        cells = [f"{text:{'>' if i in (1, 3, 5) else '<'}{widths[i]}}" for i, text in enumerate(line)]
        click.echo("  ".join(cells).rstrip())


def _place(error: TapError, inside: str = "") -> str:
    return ", ".join(part for part in (f"layer {error.layer}" if error.layer >= 0 else "", inside) if part)
