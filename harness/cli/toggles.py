"""`zeroulp toggles`."""

from __future__ import annotations

import json

import click

from harness.cli.options import json_option


@click.command()
@json_option
def toggles(as_json: bool) -> None:
    """List the toggles of the engine.

    Each with its meaning, values and default. A toggle chooses how something is computed. All but `kv` give the same
    bits whatever they are set to; `kv` changes what is computed, and the oracle is told.

    \b
    Example, and a toggle in use:
      zeroulp toggles
      zeroulp generate tiny.gguf --tokens 1,2,3 -n 8 --engine host --set graph=off
    """
    from engine.toggles import TOGGLES

    if as_json:
        listed = [{"name": t.name, "meaning": t.meaning, "values": t.choices, "default": t.default} for t in TOGGLES]
        click.echo(json.dumps(listed, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("toggle", "values", "default", "meaning", box=None, pad_edge=False)
    for toggle in TOGGLES:
        table.add_row(toggle.name, toggle.choices, toggle.default, toggle.meaning)
    Console(highlight=False).print(table)
