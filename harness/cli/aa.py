"""`zeroulp aa`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.aa_schema import AaResult
    from harness.aa_session import AaCall
    from harness.statistics import Policy

PROCESSES = 16
NO_TIMES = "device host: its times mean nothing, so that there is no noise to measure; --parity-only compares the rest"


@click.command()
@click.argument("config", type=FILE, required=False)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Fresh processes of each model, an even number from 8 on.  [default: {PROCESSES}]",
)
@click.option(
    "--where", metavar="EXPR", help="""Only rows for which this holds: 'quant == "Q8_0" and graph == "on"'."""
)
@click.option("--device", type=click.Choice(["auto", "host", "cuda"]), help="auto (default): cuda if there is a GPU.")
@click.option("--gpu", metavar="UUID", help="The GPU to measure on.  [default: the first that is visible]")
@click.option("--parity-only", is_flag=True, help="Compare bits, launches and engaged paths, and no times.")
@click.option("--policy", type=FILE, help="A TOML file with the rules of the statistics.")
@click.option("--out", type=FILE, help="The run's folder, new or empty.  [default: a new one in results]")
@click.option("--resume", type=FILE, metavar="RUN", help="Go on with an interrupted run; finished processes stay.")
@json_option
def aa(
    config: Path | None,
    rounds: int | None,
    where: str | None,
    device: str | None,
    gpu: str | None,
    parity_only: bool,
    policy: Path | None,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
) -> int:
    """Measure this program against itself: how noisy each row is, and what the gate would say of nothing.

    Fresh processes run in the order of the gate (ABBA). For every row: the standard deviation of processes with its
    interval, the noise class, the pairs that the gate will spend on it, the smallest slowdown it can see, and the false
    alarms over the ways to call the processes of each pair base and head. CONFIG.toml is a matrix as for bench-allrows.

    The folder gets aa.json, and noise.toml unless --parity-only. Ctrl-C keeps finished processes; --resume goes on.

    \b
    Examples:
      zeroulp aa
      zeroulp aa mine.toml --rounds 8 --where 'model == "qwen3-8b"'
      zeroulp aa --device host --parity-only --rounds 8 --where 'context < 100'
      zeroulp aa --resume results/20260102T120000Z-fed321

    Exit codes: 0 as expected of one program, 1 bits differ, 2 broken or a bad call, 3 cannot tell: the machine moved or
    throttled, a false alarm, or a device whose times mean nothing; 130 interrupted; of several the first of 2, 1, 3, 0.
    """
    from harness.aa_session import resume_aa, start_aa, without_times
    from harness.progress import SweepProgress

    rules = _policy(policy)
    with SweepProgress(sys.stderr) as progress:
        if resume is not None:
            if parity_only or any(option is not None for option in (config, rounds, where, device, gpu, out)):
                raise BadCall("--resume takes matrix, options and folder from the run: give it alone, or with --policy")
            environment = edge.child_environment(workers=1)
            folder, result = resume_aa(resume, edge.cache_folder(), rules, environment, progress)
        else:
            call = _call(config, where or "", device or "auto", gpu or "", rounds or PROCESSES, not parity_only, out)
            if call.timed and call.sweep.device == "host":
                return _refused(without_times(call, NO_TIMES), as_json=as_json)
            folder, result = start_aa(call, rules, call.sweep.environment, progress)
    _say(result, folder, as_json=as_json)
    return result.exit_code


def _refused(result: AaResult, *, as_json: bool) -> int:
    """Nothing was measured; a program that reads the answer gets one all the same."""
    click.echo(NO_TIMES, err=True)
    if as_json:
        click.echo(_json(result))
    return result.exit_code


def _json(result: AaResult) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(result), indent=2).decode()


def _policy(path: Path | None) -> Policy:
    from harness.policy import read_policy
    from harness.statistics import Policy

    return read_policy(path) if path is not None else Policy()


def _call(
    config: Path | None, where: str, device: str, gpu: str, processes: int, timed: bool, out: Path | None
) -> AaCall:
    from harness.aa_session import AaCall
    from harness.adapters.devices import chosen, require
    from harness.config import DEFAULT, parse_config, read_text
    from harness.gate.gpus import choose, visible_gpus
    from harness.planning import Sweep

    on = chosen(device)
    require(on)
    if gpu and on != "cuda":
        raise BadCall(f"--gpu {gpu}: the device is {on}")
    environment = edge.child_environment(workers=1)
    wanted = choose(visible_gpus(environment), gpu) if on == "cuda" else ""
    text = read_text(config or DEFAULT)
    options = [f"--{name}={value}" for name, value in (("where", where), ("rounds", processes)) if value]
    options += [f"--device={on}", *([] if timed else ["--parity-only"])]
    sweep = Sweep(
        config=parse_config(text, config.resolve() if config else Path(DEFAULT.name)),
        matrix=text,
        matrix_path=str(config.resolve()) if config else "",
        where=where,
        device=on,
        repeats=0,
        results=Path("results"),
        resume=None,
        cache=edge.cache_folder(),
        command=shlex.join(["zeroulp", "aa", *([str(config)] if config else []), *options]),
        environment={**environment, "CUDA_VISIBLE_DEVICES": wanted} if wanted else environment,
        workers=1,
    )
    return AaCall(sweep=sweep, processes=processes, timed=timed, gpu=wanted, out=out)


def _say(result: AaResult, folder: Path, *, as_json: bool) -> None:
    """A line for each row and metric, faults, the verdict last."""
    from harness.aa import NOISE
    from reference.spec.gguf_file import shown_path

    if as_json:
        click.echo(_json(result))
        return
    for row in result.rows:
        fit = row.fit
        click.echo(
            f"{row.noise_class:<10} {fit.sd:.2%} ({fit.low:.2%} to {fit.high:.2%})  {row.label}, {row.metric}:"
            f" {row.median_us:.1f} us, {row.pairs:.1f} pairs, sees {row.smallest_visible:.1%},"
            f" false alarms {row.false_alarms} of {row.splits}"
        )
    for canary in result.canaries:
        click.echo(f"canary     {canary.fit.sd:.2%} ({canary.fit.low:.2%} to {canary.fit.high:.2%})  {canary.name}")
    for fault in result.faults:
        click.echo(f"{fault.kind}: {fault.label}: {fault.reason}")
    for note in result.notes:
        click.echo(f"note: {note}")
    written = f"; noise: {shown_path(folder / NOISE)}" if result.rows else f"; folder: {shown_path(folder)}"
    click.echo(f"{result.headline}{written}")
