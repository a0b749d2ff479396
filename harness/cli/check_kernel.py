"""`zeroulp check-kernel`: a kernel that is not ours against an op's oracle."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import edge
from harness.cli.check_kernel_text import list_lines, refusal, rerun, show_lines, table_lines
from harness.cli.options import FILE, json_option
from harness.errors import BadCall

if TYPE_CHECKING:
    from harness.user_kernel import KernelAnswer, KernelCall

TIMEOUT = 600


@click.command("check-kernel")
@click.argument("source", type=FILE, required=False, metavar="[FILE.cu]")
@click.option("--op", metavar="OP", help="The op it computes; --list names them.")
@click.option(
    "--entry", metavar="NAME", help='Its name: extern "C" __global__ void NAME(...).  [default: that of the op]'
)
@click.option(
    "--args", "arguments", metavar="LIST", help="Its arguments in order: names, sizes, int64:EXPR for 64 bits."
)
@click.option("--grid", default="", metavar="EXPR", help="Blocks, from the sizes of a case.  [default: see --show]")
@click.option("--block", default="", metavar="EXPR", help="Threads of a block.  [default: 256]")
@click.option("--shared", default="0", metavar="EXPR", help="Bytes of dynamic shared memory.  [default: 0]")
@click.option("--grids", default="", metavar="N,N", help="Every case again on exactly so many blocks.")
@click.option("--device", type=click.Choice(["host", "cuda"]), default="host", show_default=True)
@click.option("--check", is_flag=True, help="Under the host's access checker: races, bounds, uninitialised reads.")
@click.option(
    "--against", type=click.Choice(["exact", "ideal"]), default="exact", show_default=True, help="Which oracle."
)
@click.option("--ulps", type=click.IntRange(min=0), default=0, metavar="N", help="Allow N ulps.  [default: 0, by bits]")
@click.option("--nmse", type=click.FloatRange(min=0), metavar="X", help="Or a normalised mean square error up to X.")
@click.option("--case", default="", metavar="NAME", help="Only this case.")
@click.option(
    "--timeout", type=click.IntRange(min=1), default=TIMEOUT, show_default=True, metavar="S", help="For all cases."
)
@click.option("--list", "list_ops", is_flag=True, help="Print the ops and their arguments.")
@click.option("--show", is_flag=True, help="Print what a kernel of OP is called with, ready to copy.")
@json_option
def check_kernel(
    source: Path | None,
    op: str | None,
    entry: str | None,
    arguments: str | None,
    grid: str,
    block: str,
    shared: str,
    grids: str,
    device: str,
    check: bool,
    against: str,
    ulps: int,
    nmse: float | None,
    case: str,
    timeout: int,
    list_ops: bool,
    show: bool,
    as_json: bool,
) -> int:
    """Run your own CUDA kernel on the cases of an op and compare every output with the oracle.

    The file may include portable.cuh and canon.cuh of this package and .cuh files beside it; on the host device it runs
    on the CPU, thread by thread, without a GPU. Around all buffers and in all outputs lies poison (NaN, -1). Cases are
    the awkward shapes and values of our own suites. --against exact is float32 in the order of NUMERICS.md; a kernel of
    another order stands against ideal (float64) with --ulps or --nmse. NaN and infinities must be where the oracle has
    them, whatever the bound.

    \b
    Examples:
      zeroulp check-kernel --list
      zeroulp check-kernel --op rms_norm --show
      zeroulp check-kernel my.cu --op rms_norm --entry my_rms_norm --grids 1,3,500
      zeroulp check-kernel my.cu --op rms_norm --entry my_rms_norm --against ideal --nmse 1e-9 --check
      zeroulp check-kernel my.cu --op swiglu --args out,gate,up,int64:rows*ff --grid "ceil(rows * ff, 1024)"

    Exit codes: 0 every case passed, 1 one did not, 2 it does not compile, cannot be launched, or hangs; or a bad call.
    """
    from harness.adapters.user_kernel.ops import OPS
    from harness.user_kernel import Bound, KernelCall

    if list_ops:
        return _print(list_lines(OPS.values(), as_json=as_json))
    if op is None:
        raise BadCall("no --op; `zeroulp check-kernel --list` names the ops")
    if op not in OPS:
        raise BadCall(f"--op {op}: unknown, expected one of {', '.join(OPS)}")
    if show:
        return _print(show_lines(OPS[op], as_json=as_json))
    call = KernelCall(
        source=str(_source(source)),
        op=op,
        entry=entry or op,
        device=device,
        arguments=tuple(word.strip() for word in arguments.split(",")) if arguments else (),
        grid=grid,
        block=block,
        shared=shared,
        grids=_grids(grids),
        check=check,
        against="exact" if against == "exact" else "ideal",
        bound=Bound(ulps=ulps, nmse=nmse),
        case=case,
    )
    if call.against == "ideal" and not OPS[op].has_ideal:
        raise BadCall(f"--against ideal: {op} has no ideal form, its outputs are whole numbers or codes")
    if nmse is not None and not nmse < math.inf:
        raise BadCall(f"--nmse {nmse}: expected a finite number")
    if check and device == "cuda":
        raise BadCall("--check: is the access checker of the host device; on a GPU use compute-sanitizer")
    return _report(call, _answer(call, timeout), as_json=as_json)


def _source(path: Path | None) -> Path:
    from harness.config import read_text

    if path is None:
        raise BadCall("no file; expected FILE.cu, or --show for what a kernel is called with")
    if not path.is_file() or path.suffix != ".cu":
        raise BadCall(f"{path}: {'not a .cu file' if path.exists() else 'not found'}, expected CUDA C++ in a .cu file")
    read_text(path)  # what is no text is said here, in one line, and not by the process that compiles it
    return path.resolve()


def _grids(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")] if text else []
    if not all(word.isascii() and word.isdigit() and 0 < int(word) < 2**31 for word in words):
        raise BadCall(f"--grids {text!r}: expected numbers of blocks such as 1,3,500")
    return tuple(int(word) for word in words)


def _answer(call: KernelCall, timeout: int) -> KernelAnswer:
    """From a process of its own: a kernel that hangs or kills it ends there. Raises BadCall for how it ended."""
    import msgspec

    from harness.adapters.devices import require
    from harness.job import KernelJob
    from harness.runner import Finished, Pool, Task, run
    from harness.user_kernel import KernelAnswer

    require(call.device)
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        job = KernelJob(call=call, cache=str(edge.cache_folder()), answer=str(Path(scratch) / "answer.json"))
        pool = Pool(workers=1, timeout=timeout, environment=edge.child_environment(1))
        for event in run([Task(key="kernel", job=job, log=log)], pool):
            if isinstance(event, Finished) and event.ending == "answered":
                return msgspec.json.decode(event.answer, type=KernelAnswer)
            if isinstance(event, Finished):
                said = log.read_text(errors="replace").strip().splitlines()
                where = f", {said[-1]}" if said and event.ending == "timed out" else ""
                raise BadCall(f"{Path(call.source).name}: {event.reason}{where}")
    raise AssertionError("a job either answers or ends otherwise")


def _report(call: KernelCall, answer: KernelAnswer, *, as_json: bool) -> int:
    failed = [result for result in answer.results if result.outcome != "passed"]
    code = edge.BROKEN if answer.refused or not answer.results else edge.FAILED if failed else edge.PASS
    if as_json:
        import msgspec

        facts = {"exit_code": code, "call": msgspec.to_builtins(call), **msgspec.to_builtins(answer)}
        click.echo(json.dumps(facts, indent=2))
        return code
    if answer.refused:
        click.echo(f"zeroulp: {refusal(call, answer.refused)}", err=True)
        return code
    _print(table_lines(call, answer.results))
    for result in failed[:1]:
        click.echo(f"the first of them alone: {rerun(call, result)}")
    return code


def _print(lines: list[str]) -> int:
    click.echo("\n".join(lines))
    return edge.PASS
