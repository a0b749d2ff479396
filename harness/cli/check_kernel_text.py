"""`zeroulp check-kernel` in words: the ops, what a kernel is called with, the table of cases."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.adapters.user_kernel.op import Op
    from harness.user_kernel import CaseResult, KernelCall

REPORTS = 5  # of the access checker, for one case


def list_lines(ops: Iterable[Op], *, as_json: bool) -> list[str]:
    """A line for each op."""
    if as_json:
        return [json.dumps({"ops": [_plain(op) for op in ops]}, indent=2)]
    return [f"{op.name:<16} {', '.join(argument.name for argument in op.listed)}" for op in ops]


def show_lines(op: Op, *, as_json: bool) -> list[str]:
    """Formula, arguments and a kernel's first lines."""
    if as_json:
        return [json.dumps(_plain(op), indent=2)]
    wide = max(len(f"{argument.type} {argument.name}") for argument in op.arguments)
    lines = [f"{op.name}: {op.formula}", ""]
    for argument in op.arguments:
        more = "" if argument.listed else "; only with --args"
        lines.append(f"  {f'{argument.type} {argument.name}':<{wide}}  {argument.meaning}{more}")
    entry = f"my_{op.name}"
    lines += [
        "",
        f"grid {op.grid}, block {op.block} unless --grid and --block say otherwise",
        "",
        f"{op.prototype(entry)} {{",
        "  ...",
        "}",
        "",
        f"zeroulp check-kernel my.cu --op {op.name} --entry {entry}",
    ]
    return lines


def _plain(op: Op) -> dict[str, Any]:
    arguments = [
        {"name": item.name, "type": item.type, "meaning": item.meaning, "listed": item.listed} for item in op.arguments
    ]
    return {"name": op.name, "formula": op.formula, "grid": op.grid, "block": op.block, "arguments": arguments}


def table_lines(call: KernelCall, results: Sequence[CaseResult]) -> list[str]:
    """A line for each case and grid, then the verdict."""
    how = f"up to {call.bound.ulps} ulp" if call.bound.ulps else "by bits"
    if call.bound.nmse is not None:
        how += f" or an NMSE up to {call.bound.nmse:g}"
    checker = ", under the access checker" if call.check else ""
    lines = [
        f"{Path(call.source).name} {call.entry} on {call.device}{checker}: {call.op}, {call.against} form, {how}",
        "",
    ]
    cells: list[tuple[str, ...]] = [("case", "grid", "values", "differ", "worst ulp", "nmse", "")]
    cells += [_cells(result) for result in results]
    widths = [max(len(row[i]) for row in cells) for i in range(6)]
    for row in cells:
        line = f"{row[0]:<{widths[0]}}  " + "  ".join(f"{row[i]:>{widths[i]}}" for i in range(1, 6))
        lines.append(f"{line}  {row[6]}".rstrip())
    for result in results:
        lines += [f"  {text}" for text in result.reports[:REPORTS]]
    return [*lines, "", _verdict(results)]


def rerun(call: KernelCall, result: CaseResult) -> str:
    """The command that runs one case alone, on the grid that it ran on."""
    options: list[tuple[str, object]] = [
        ("--op", call.op),
        ("--entry", call.entry),
        ("--args", ",".join(call.arguments)),
        ("--grid", result.grid),
        ("--block", call.block),
        ("--shared", "" if call.shared == "0" else call.shared),
        ("--device", "" if call.device == "host" else call.device),
        ("--against", "" if call.against == "exact" else call.against),
        ("--ulps", call.bound.ulps or ""),
        ("--nmse", "" if call.bound.nmse is None else call.bound.nmse),
        ("--case", result.case),
    ]
    words = [word for name, value in options if value != "" for word in (name, str(value))]
    return shlex.join(["zeroulp", "check-kernel", call.source, *words, *(["--check"] if call.check else [])])


def _cells(result: CaseResult) -> tuple[str, ...]:
    if not result.values:
        return result.case, str(result.grid), "", "", "", "", f"{result.outcome.upper()}: {result.reason}"
    ulp = "" if result.worst_ulp is None else f"{result.worst_ulp:,}"
    nmse = "" if result.nmse is None else f"{result.nmse:.1e}" if result.nmse else "0"
    what = f"DIFFERS: {result.reason}" if result.outcome != "passed" else result.first_difference
    return result.case, str(result.grid), f"{result.values:,}", f"{result.differing:,}", ulp, nmse, what


def _verdict(results: Sequence[CaseResult]) -> str:
    counts = Counter(result.outcome for result in results)
    if set(counts) == {"passed"}:
        return f"PASS: {len(results)} cases"
    words = ", ".join(f"{outcome} {counts[outcome]}" for outcome in counts)
    return f"FAIL: {len(results)} cases: {words}"


def refusal(call: KernelCall, text: str) -> str:
    """What a compiler said, an error a line, below what it is about."""
    place = f"{call.source}:"
    return text.replace(f": {place}", f":\n  {place}", 1).replace(f"; {place}", f"\n  {place}")
