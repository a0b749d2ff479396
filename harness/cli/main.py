"""The commands `zeroulp` and `bench-allrows`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from harness.cli import edge
from harness.cli.aa import aa
from harness.cli.bench import allrows, bench
from harness.cli.check_kernel import check_kernel
from harness.cli.compare import compare
from harness.cli.compute import generate, logits
from harness.cli.diverge import diverge
from harness.cli.doctor import doctor
from harness.cli.gate import gate
from harness.cli.parity import parity
from harness.cli.quality import quality
from harness.cli.report import report
from harness.cli.selftest import selftest
from harness.cli.store import store
from harness.cli.synth import synth
from harness.cli.toggles import toggles


def _print_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from harness.environment import version
        from reference import NUMERICS

        click.echo(f"zeroulp {version()}, numerics {NUMERICS}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print it.")
@click.pass_context
def group(context: click.Context) -> None:
    """Zero units in the last place between every two ways of computing a token.

    An oracle says what the answer is to the last bit, an engine gives it fast, and a laboratory measures both.

    \b
    A first round:
      zeroulp doctor
      zeroulp synth qwen3-tiny --quant Q8_0 -o tiny.gguf
      zeroulp generate tiny.gguf --tokens 1,2,3 -n 8 --engine host
      bench-allrows

    Exit codes: 0 pass, 1 regression or parity failure, 2 broken or a bad call, 3 cannot tell, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


for command in (
    doctor,
    synth,
    logits,
    generate,
    toggles,
    parity,
    quality,
    bench,
    report,
    compare,
    diverge,
    gate,
    aa,
    check_kernel,
    selftest,
    store,
):
    group.add_command(command)


def zeroulp(arguments: Sequence[str]) -> int:
    """`zeroulp` with these arguments; returns its exit code."""
    return edge.run(group, arguments, name="zeroulp")


def main() -> None:
    sys.exit(zeroulp(sys.argv[1:]))


def bench_allrows() -> None:
    """`bench-allrows` is `zeroulp bench allrows`."""
    sys.exit(edge.run(allrows, sys.argv[1:], name="bench-allrows"))
