"""Reads the PTX of a module: which instructions could move a bit, and whether every kernel keeps the rules of PDL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ENTRY = re.compile(r"\.visible \.entry (\w+)\(")
INSTRUCTION = re.compile(r"^(?:@(!?%\w+)\s+)?([a-z][\w.:]*)\s*(.*?);?$")
# name of the rule, what it forbids, why
FORBIDDEN = (
    ("approximate", re.compile(r"\.approx|^(ex2|lg2|sin|cos|tanh|rsqrt)\.|\.full\."), "is not correctly rounded"),
    ("flush", re.compile(r"\.ftz"), "flushes subnormals to zero"),
    ("contractible", re.compile(r"^(add|sub|mul)\.(f32|f16|f64|bf16)|^mad\.f"), "leaves the rounding to the compiler"),
    ("rounding", re.compile(r"^(add|sub|mul|fma|div|sqrt|rcp)\.(rz|rm|rp)\."), "does not round to nearest even"),
    ("double", re.compile(r"^(add|sub|mul|fma|div|sqrt|neg|min|max)(\.\w+)*\.f64"), "is double precision"),
    ("min-max", re.compile(r"^(min|max)(\.\w+)*\.(f32|f16|bf16)"), "swallows NaN"),
    ("float-atomic", re.compile(r"^(atom|red)\.(\S+\.)?(f32|f64|f16|f16x2|bf16)"), "adds floats in no fixed order"),
    ("call", re.compile(r"^call\b"), "calls a function that was not inlined"),
)
WRITE = re.compile(r"^(st(?!\.(shared|local|param))|atom(?!\.shared)|red(?!\.shared))\b")
WAIT, LAUNCH_DEPENDENTS = "griddepcontrol.wait", "griddepcontrol.launch_dependents"
PDL_ARCHITECTURE = 90


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of PTX that breaks a rule, or a kernel that lacks what it must have."""

    kernel: str
    rule: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Instruction:
    label: str  # of the line, empty if it has none
    predicate: str  # %p1 or !%p1, empty if it always runs
    opcode: str
    operands: str


def kernels(ptx: str) -> dict[str, list[Instruction]]:
    """Instructions by kernel."""
    starts = [(match.group(1), match.end()) for match in ENTRY.finditer(ptx)]
    ends = [start for _, start in starts[1:]] + [len(ptx)]
    return {name: list(_instructions(ptx[start:end])) for (name, start), end in zip(starts, ends, strict=True)}


def lint(ptx: str, *, architecture: int) -> list[Finding]:
    """Findings in the PTX of a module; `architecture` as 90 for sm_90."""
    found: list[Finding] = []
    for name, body in kernels(ptx).items():
        for rule, pattern, why in FORBIDDEN:
            found += [
                Finding(kernel=name, rule=rule, text=f"{line.opcode} {line.operands}: {why}")
                for line in body
                if pattern.search(line.opcode)
            ]
        found += _pdl(name, body, architecture)
    return found


def fused(ptx: str) -> dict[str, int]:
    """Number of fused multiply-adds by kernel."""
    return {name: sum(line.opcode.startswith("fma.") for line in body) for name, body in kernels(ptx).items()}


def contraction(built: str, without: str, contracted: str) -> list[Finding]:
    """Whether contraction changes the module: compares the PTX as built, without contraction and with it.

    A source that names every rounding gives the same float instructions in all three. With contraction on, a plain
    `a * b + c` becomes an fma and a plain `a + b` loses its .rn.
    """
    found = [finding for finding in lint(contracted, architecture=0) if finding.rule == "contractible"]
    plain = fused(without)
    for which, ptx in (("as built", built), ("contracted", contracted)):
        found += [
            Finding(kernel=name, rule="contracted", text=f"{count} fma {which}, {plain.get(name)} written as __fmaf_rn")
            for name, count in fused(ptx).items()
            if count != plain.get(name)
        ]
    return found


def _instructions(body: str) -> Iterator[Instruction]:
    label = ""
    for raw in body.splitlines():
        line = raw.split("//")[0].strip()
        if re.fullmatch(r"\$?\w+:", line):
            if label:  # two labels in a row
                yield Instruction(label=label, predicate="", opcode="nop", operands="")
            label = line[:-1]
            continue
        targets = re.fullmatch(r"(\$?\w+):\s*\.branchtargets\s+(.*);", line)
        if targets:
            yield Instruction(label=targets[1], predicate="", opcode="branchtargets", operands=targets[2])
            continue
        match = INSTRUCTION.match(line) if line.endswith(";") else None
        if match:
            yield Instruction(label=label, predicate=match[1] or "", opcode=match[2], operands=match[3])
            label = ""


def _pdl(name: str, body: Sequence[Instruction], architecture: int) -> Iterator[Finding]:
    """Every way through a kernel passes the wait, and nothing is written to global memory before it."""
    if architecture < PDL_ARCHITECTURE:
        for line in body:
            if line.opcode.startswith("griddepcontrol"):
                yield Finding(kernel=name, rule="pdl", text=f"{line.opcode} does not exist on sm_{architecture}")
        return
    if not any(line.opcode == WAIT for line in body):
        yield Finding(kernel=name, rule="pdl", text=f"never executes {WAIT}")
        return
    # The instructions that can be reached from the start without a wait on the way.
    labels = {line.label: index for index, line in enumerate(body) if line.label}
    open_, seen = [0], set[int]()
    while open_:
        index = open_.pop()
        if index in seen or index >= len(body):
            continue
        seen.add(index)
        line = body[index]
        if line.opcode in ("ret", "exit"):
            yield Finding(kernel=name, rule="pdl", text=f"can end without {WAIT}")
        if WRITE.match(line.opcode):
            yield Finding(kernel=name, rule="pdl", text=f"{line.opcode} {line.operands} can run before {WAIT}")
        open_ += _successors(body, index, labels)


def _successors(body: Sequence[Instruction], index: int, labels: dict[str, int]) -> list[int]:
    line = body[index]
    kind = line.opcode.split(".")[0]
    after = [index + 1] if line.predicate or kind not in ("ret", "exit", "bra", "brx") else []
    if line.opcode == WAIT and not line.predicate:
        return []
    if kind == "bra":
        return [*after, labels[line.operands.strip()]]
    if kind == "brx":
        table = body[labels[line.operands.split(",")[-1].strip()]].operands
        return [*after, *(labels[target.strip()] for target in table.split(","))]
    return after
