"""`zeroulp gate`."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.options import FILE, json_option
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.gate.environments import Sharing
    from harness.gate.schema import GateResult
    from harness.gate.session import GateCall, Here
    from harness.planning import Sweep

SUMMARY, LIMIT = "summary.md", 60_000  # bytes
LONGEST = 2000  # characters of a line that is said
SHOWN = ("wrong", "missing", "broken", "slower", "cannot_tell", "accepted", "faster")


@click.command()
@click.argument("base", required=False)
@click.argument("head", required=False)
@click.option("--matrix", type=FILE, help="A TOML file of models, shapes and toggles.  [default: the built-in one]")
@click.option(
    "--where", metavar="EXPR", help="""Only rows for which this holds: 'quant == "Q8_0" and graph == "on"'."""
)
@click.option("--device", type=click.Choice(["auto", "host", "cuda"]), help="auto (default): cuda if there is a GPU.")
@click.option("--gpu", metavar="UUID", help="The GPU to measure on.  [default: the first that is visible]")
@click.option("--policy", type=FILE, help="A TOML file with the rules of the statistics.")
@click.option("--accept", type=FILE, help="A TOML file of intended changes, each with its reason and expiry.")
@click.option(
    "--noise",
    type=FILE,
    help="What `zeroulp aa` wrote of this machine: an ungateable time is never slower, nor measured beyond one look.",
)
@click.option("--selftest", type=FILE, help="A selftest.json.  [default: the score that is kept of HEAD's code]")
@click.option(
    "--environments",
    "sharing",
    type=click.Choice(["auto", "shared", "own"]),
    help="Libraries of the arms: this interpreter's (shared), or as each declares (own).  [default: auto]",
)
@click.option("--out", type=FILE, help="The gate's folder, new or empty.  [default: a new one in results]")
@click.option(
    "--resume",
    type=FILE,
    metavar="FOLDER",
    help="Go on with a gate: finished processes stay, crashed ones run again aloud.",
)
@click.option("--annotations", is_flag=True, help="Print ::error lines for a forge; so it is in GitHub Actions.")
@json_option
def gate(
    base: str | None,
    head: str | None,
    matrix: Path | None,
    where: str | None,
    device: str | None,
    gpu: str | None,
    policy: Path | None,
    accept: Path | None,
    noise: Path | None,
    selftest: Path | None,
    sharing: Sharing | None,
    out: Path | None,
    resume: Path | None,
    annotations: bool,
    as_json: bool,
) -> int:
    """Measure HEAD against BASE and say what got slower or wrong.

    Each is a commit of this checkout, a wheel, or the folder of a finished run. Commits and wheels are built in
    environments of their own and measured in fresh processes in turn (ABBA) on one GPU, as many pairs as the verdicts
    need. A slower row is measured again with 8 fresh pairs, on another GPU if there is one, before it counts. Parity,
    launches and engaged paths are compared exactly. On the host device they alone are gated: its times mean nothing.

    The folder gets gate.json, junit.xml and summary.md. Ctrl-C keeps finished processes; --resume goes on.

    \b
    Examples:
      zeroulp gate main HEAD
      zeroulp gate v1.0 my-branch --where 'quant == "Q8_0"' --accept gate-accept.toml
      zeroulp gate dist/old.whl dist/new.whl --gpu GPU-4be1c0de-1111-2222-3333-444455556666
      zeroulp gate results/20260101T120000Z-abc123 results/20260102T120000Z-def456
      zeroulp gate --resume results/20260102T120000Z-fed321

    Exit codes: 0 pass, 1 confirmed regression or parity failure, 2 broken or a bad call, 3 cannot tell,
    130 interrupted; of several the first of 2, 1, 3, 0.
    """
    from harness.gate.session import resume_gate, start_gate
    from harness.progress import SweepProgress

    options = {
        "--matrix": matrix,
        "--where": where,
        "--device": device,
        "--gpu": gpu,
        "--policy": policy,
        "--accept": accept,
        "--noise": noise,
        "--selftest": selftest,
        "--environments": sharing,
    }
    with SweepProgress(sys.stderr) as progress:
        if resume is not None:
            if any(option is not None for option in (base, head, out, *options.values())):
                raise BadCall("--resume takes arms, matrix and options from the gate's folder: give it alone")
            folder, result = resume_gate(resume, _here(), progress)
        elif base is None or head is None:
            raise BadCall("expected BASE and HEAD, or --resume FOLDER")
        else:
            words = [f"{name}={value}" for name, value in options.items() if value is not None and name != "--where"]
            asked = _Asked(
                base=base,
                head=head,
                matrix=matrix,
                where=where or "",
                device=device or "auto",
                gpu=gpu or "",
                options=tuple(words),
            )
            files = _Files(policy=policy, accept=accept, noise=noise, selftest=selftest, out=out)
            folder, result = start_gate(_call(asked, files, sharing or "auto"), _here(), progress)
    annotated = annotations or os.environ.get("GITHUB_ACTIONS") == "true"
    return _finish(result, folder, annotated=annotated, as_json=as_json)


def _finish(result: GateResult, folder: Path, *, annotated: bool, as_json: bool) -> int:
    """Summary, annotations, what is said; the exit code."""
    from harness.gate.outputs import forge_lines
    from harness.store import write_atomically
    from reports.pr import markdown

    write_atomically(folder / SUMMARY, markdown(result, LIMIT).encode())
    for line in forge_lines(result) if annotated else ():
        click.echo(line, err=as_json)
    _say(result, folder, as_json=as_json)
    return result.exit_code


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """The two arms and what is measured of them; `options` are those given, without --where."""

    base: str
    head: str
    matrix: Path | None
    where: str
    device: str
    gpu: str
    options: tuple[str, ...]


def _here() -> Here:
    from harness.gate.session import Here

    return Here(
        cache=edge.cache_folder(), environment=edge.child_environment(workers=1), today=datetime.now(UTC).date()
    )


@dataclass(frozen=True, kw_only=True)
class _Files:
    policy: Path | None
    accept: Path | None
    noise: Path | None
    selftest: Path | None
    out: Path | None


def _call(asked: _Asked, files: _Files, sharing: Sharing) -> GateCall:
    from harness.adapters.devices import chosen
    from harness.gate.gpus import choose, visible_gpus
    from harness.gate.session import GateCall
    from harness.selftest import read_selftest

    device = chosen(asked.device)
    if asked.gpu and device != "cuda":
        raise BadCall(f"--gpu {asked.gpu}: the device is {device}")
    gpus = visible_gpus(edge.child_environment(workers=1)) if device == "cuda" else ()
    gpu = choose(gpus, asked.gpu) if device == "cuda" else ""
    return GateCall(
        base=asked.base,
        head=asked.head,
        directory=Path.cwd(),
        sweep=_sweep(asked, device, gpu),
        matrix_given=asked.matrix is not None,
        options=asked.options,
        gpu=gpu,
        others=tuple(other for other in gpus if other != gpu),
        out=files.out,
        sharing=sharing,
        policy=files.policy,
        accept=files.accept,
        noise=files.noise,
        selftest=read_selftest(files.selftest).score() if files.selftest is not None else None,
    )


def _sweep(asked: _Asked, device: str, gpu: str) -> Sweep:
    """The rows that are owed."""
    from harness.config import DEFAULT, parse_config, read_text
    from harness.planning import Sweep

    text = read_text(asked.matrix or DEFAULT)
    environment = edge.child_environment(workers=1)
    where = (f"--where={asked.where}",) if asked.where else ()
    return Sweep(
        config=parse_config(text, asked.matrix.resolve() if asked.matrix else Path(DEFAULT.name)),
        matrix=text,
        matrix_path=str(asked.matrix.resolve()) if asked.matrix else "",
        where=asked.where,
        device=device,
        repeats=0,
        results=Path("results"),
        resume=None,
        cache=edge.cache_folder(),
        command=shlex.join(("zeroulp", "gate", asked.base, asked.head, *asked.options, *where)),
        environment={**environment, "CUDA_VISIBLE_DEVICES": gpu} if gpu else environment,
        workers=1,
    )


def _say(result: GateResult, folder: Path, *, as_json: bool) -> None:
    """Everything that did not stay as it was, the verdict last."""
    from harness.gate.outputs import told
    from harness.gate.schema import encode
    from reference.spec.gguf_file import shown_path
    from reports.text import logged

    if as_json:
        click.echo(encode(result).decode(), nl=False)
        return
    for verdict in SHOWN:
        for row in (row for row in result.rows if row.verdict == verdict):
            line = f"{verdict.replace('_', ' ')}: row {row.key}, {row.label}, {row.metric}: {told(row)}"
            click.echo(logged(line, longest=LONGEST))
    if result.parity.reproduce:
        click.echo(f"reproduce: {result.parity.reproduce}")
    for note in result.notes:
        click.echo(logged(f"note: {note}", longest=LONGEST))
    click.echo(f"{result.headline}; report: {shown_path(folder / SUMMARY)}")
