"""`zeroulp logits` and `zeroulp generate`: a model's answer from the oracle or the engine."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.edge import cache_folder
from harness.cli.options import FILE, json_option, read_tokens, require_place, toggle_option, tokens_options
from harness.errors import BadCall
from harness.words import plural

if TYPE_CHECKING:
    from harness.adapters.engine import SessionEngine
    from harness.schema import Path as Engagement
    from reference.spec.model import Model

DEVICES = ("host", "cuda")
COMMAND = "command:"
CONTEXT_HELP = "Positions the KV cache holds; by default as many as are needed."


@click.command()
@click.argument("model", type=FILE)
@tokens_options
@click.option("--engine", "name", required=True, metavar="ENGINE", help="See above.")
@click.option("-o", "--output", required=True, type=FILE, help="The .npy file to write; whole or not at all.")
@click.option("--context", type=click.IntRange(min=1), help=CONTEXT_HELP)
@toggle_option
@json_option
def logits(
    model: Path,
    tokens: str | None,
    tokens_file: Path | None,
    name: str,
    output: Path,
    context: int | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Write the logits of every position, (tokens, vocab).

    \b
    --engine ideal   float64 mathematics, the yardstick
             oracle  float32 in the canonical order: the answer to the last bit
             host    the engine's kernels on the CPU: equal to oracle in every bit
             cuda    the engine on the GPU: equal to oracle in every bit
             command:PATH  a program or engine.toml of yours: see docs/your-engine.md

    \b
    Example:
      zeroulp logits tiny.gguf --tokens 1,2,3 --engine oracle -o oracle.npy
      zeroulp logits tiny.gguf --tokens 1,2,3 --engine host --set prefill=sequential -o host.npy
    """
    import numpy as np

    from harness.adapters.models import open_file
    from harness.store import write_atomically

    ids = read_tokens(tokens, tokens_file)
    require_place(output, model=model)
    _require_engine(name)
    opened = open_file(model)
    engaged: Mapping[str, Engagement] = {}
    values: np.ndarray[Any, Any]
    if name.startswith(COMMAND):
        values = _command_logits(opened, model, ids, name, settings, context)
    elif name in DEVICES:
        values, engaged = _engine_logits(opened, ids, name, settings, context)
    else:
        values = _oracle_logits(opened, ids, name, settings, context)
    buffer = io.BytesIO()
    np.save(buffer, values)
    write_atomically(output, buffer.getvalue())
    if as_json:
        facts = {"file": str(output), "shape": values.shape, "dtype": str(values.dtype), "engine": name}
        click.echo(json.dumps({**facts, "engaged": _plain(engaged)}, indent=2))
        return
    click.echo(f"{output}: {values.shape[0]} x {values.shape[1]} {values.dtype}, {name}")
    _print_engaged(engaged)


@click.command()
@click.argument("model", type=FILE)
@tokens_options
@click.option("-n", "count", required=True, type=click.IntRange(min=1), help="How many tokens to generate.")
@click.option("--engine", "name", required=True, type=click.Choice(["oracle", *DEVICES]), help="As for `logits`.")
@click.option("--context", type=click.IntRange(min=1), help=CONTEXT_HELP)
@toggle_option
@json_option
def generate(
    model: Path,
    tokens: str | None,
    tokens_file: Path | None,
    count: int,
    name: str,
    context: int | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Print greedy token ids, and which paths engaged.

    Ties go to the lowest id. On cuda it prints tokens/s, too.

    The host device emulates a GPU: what it takes says nothing about speed, so no speed is printed for it.

    \b
    Example:
      zeroulp generate tiny.gguf --tokens 1,2,3 -n 8 --engine host --set graph=off
    """
    from harness.adapters.models import open_file

    ids = read_tokens(tokens, tokens_file)
    opened = open_file(model)
    needed = len(ids) + count
    if context is not None and needed > context:
        raise BadCall(f"{plural(len(ids), 'token')} and {count} to generate: the context holds {context} positions")
    engaged: Mapping[str, Engagement] = {}
    speed: float | None = None
    if name == "oracle":
        chosen = _oracle_tokens(opened, ids, count, settings)
    else:
        from harness.adapters.engine import running

        with running(name, cache_folder(), opened, settings, context or needed) as engine:
            chosen = engine.generate(ids, count)
            engaged = engine.engaged()
            speed = _decode_speed(engine, ids, count) if name == "cuda" and count > 1 else None
    if as_json:
        result = {"engine": name, "tokens": chosen, "engaged": _plain(engaged)}
        click.echo(json.dumps(result | ({"tokens_per_second": speed} if speed else {}), indent=2))
        return
    click.echo(",".join(str(token) for token in chosen))
    _print_engaged(engaged)
    if speed:
        click.echo(f"decode: {speed:,.1f} tokens/s")


def _engine_logits(
    model: Model, ids: list[int], device: str, settings: Sequence[str], context: int | None
) -> tuple[Any, Mapping[str, Engagement]]:
    from harness.adapters.engine import running

    with running(device, cache_folder(), model, settings, context or len(ids)) as engine:
        values = engine.prefill(ids, all_logits=True)
        return values, engine.engaged()


def _require_engine(name: str) -> None:
    known = ("ideal", "oracle", *DEVICES)
    if name not in known and not name.startswith(COMMAND):
        raise BadCall(f"--engine {name}: expected one of {', '.join(known)}, or {COMMAND}PATH")


def _command_logits(
    opened: Model, path: Path, ids: list[int], name: str, settings: Sequence[str], context: int | None
) -> Any:
    from harness.adapters.oracle import checked_tokens
    from harness.cli.edge import child_environment
    from harness.command_engine import ask, read_engine

    if settings or context is not None:
        raise BadCall("--set and --context: a command has none of our toggles, give it its own in engine.toml")
    tokens = checked_tokens(opened, ids)
    return ask(read_engine(name, child_environment(1)), path, tokens, opened.spec.vocab).logits


def _oracle_logits(model: Model, ids: list[int], form: str, settings: Sequence[str], context: int | None) -> Any:
    from harness.adapters import oracle

    if context is not None and len(ids) > context:
        raise BadCall(f"{plural(len(ids), 'token')}: the context holds {context} positions")
    kv = _kv(form, settings)
    return oracle.ideal_logits(model, ids) if form == "ideal" else oracle.exact_logits(model, ids, kv=kv)


def _oracle_tokens(model: Model, ids: list[int], count: int, settings: Sequence[str]) -> list[int]:
    from harness.adapters import oracle

    return oracle.exact_tokens(model, ids, count, kv=_kv("oracle", settings))


def _kv(form: str, settings: Sequence[str]) -> str:
    """The one toggle that the oracle knows; the ideal form rounds no cache and knows none."""
    from engine.toggles import Toggles

    toggles = Toggles.parse(settings)
    for setting in settings:
        name = setting.partition("=")[0]
        if form == "ideal" or name != "kv":
            known = "none" if form == "ideal" else "only kv, the others do not change a bit"
            raise BadCall(f"toggle {name}: {form} knows {known}")
    return toggles.kv


def _decode_speed(engine: SessionEngine, ids: list[int], count: int) -> float:
    """Tokens/s of the steps behind the first, after the graph was captured and the clocks are up."""
    engine.reset()
    engine.generate(ids, 1)
    engine.synchronize()
    start = time.perf_counter()
    engine.generate_more(count - 1)
    engine.synchronize()
    return (count - 1) / (time.perf_counter() - start)


def _plain(engaged: Mapping[str, Engagement]) -> dict[str, Any]:
    from msgspec import to_builtins

    return {name: to_builtins(path) for name, path in engaged.items()}


def _print_engaged(engaged: Mapping[str, Engagement]) -> None:
    words = {True: "yes", False: "no", None: "did not apply"}
    for name, path in engaged.items():
        rest = "; ".join(text for text in (path.reason, path.detail) if text)
        click.echo(f"  {name} {path.asked}: {words[path.engaged]}{', ' + rest if rest else ''}")
