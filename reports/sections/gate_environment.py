"""Where and how a gate was made: arms, controls, rules, machine, and the command to make it again."""

from __future__ import annotations

from harness.gate.schema import Arm, CanaryVerdict, GateResult
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Section, Table, table
from reports.reproduce import typed
from reports.sections.environment import machine
from reports.sections.gate_rows import NONE, change
from reports.text import one_line

SHA = 12  # characters of a commit or tree that are shown


def section(result: GateResult) -> Section:
    blocks: list[Block] = []
    if result.canaries:
        blocks.append(_controls(result.canaries))
    if result.command:
        blocks += [Paragraph(text="To make this gate again:"), typed(result.command)]
    blocks.append(_arms(result))
    if result.policy:
        rules = [(one_line(name), _rule(value)) for name, value in result.policy.items()]
        blocks.append(
            table(f"{plural(len(rules), 'rule')} of the verdicts", ("rule", "value"), rules, folded=True, yields=2)
        )
    if result.environment is not None:
        facts = machine(result.environment, result.started)
        blocks.append(table("Environment", ("what", "value"), facts.rows, folded=True, yields=2))
    return Section(title="Environment and method", blocks=tuple(blocks))


def arm(side: Arm) -> str:
    """An arm in a few words: what was asked for, and the commit that it is."""
    asked, commit = one_line(side.spec, longest=60), one_line(side.git_sha)[:SHA]
    words = asked if not commit or asked.startswith(commit) else f"{asked} ({commit})"
    if asked.startswith(commit) and commit:
        words = commit
    return f"{words} with changes that were not committed" if side.dirty else words


def _controls(canaries: tuple[CanaryVerdict, ...]) -> Table:
    moved = sum(canary.moved for canary in canaries)
    lines = [
        (
            Cell(text="? moved" if canary.moved else "✓ steady", tone="unsure" if canary.moved else "good")
            if canary.ratio is not None
            else Cell(text=f"{NONE} not measured"),
            one_line(canary.name),
            change(canary.ratio, canary.low, canary.high),
            f"{canary.pairs:,}",
            one_line(canary.reason) or NONE,
        )
        for canary in canaries
    ]
    caption = f"Controls, the same work in both arms: {moved} of {len(canaries)} moved"
    columns = ("state", "control", "time change", "pairs", "why")
    return table(caption, columns, lines, numbers=columns[2:4], folded=not moved, yields=5)


def _arms(result: GateResult) -> Table:
    lines = [
        (
            side,
            one_line(given.spec),
            given.kind,
            one_line(given.git_sha)[:SHA] or NONE,
            one_line(given.version) or NONE,
            NONE if given.numerics is None else str(given.numerics),
            one_line(given.tree)[:SHA] or NONE,
            one_line(given.built) or NONE,
        )
        for side, given in (("base", result.base), ("head", result.head))
    ]
    columns = ("arm", "given", "kind", "commit", "version", "numerics", "tree", "how it was made")
    return table("Both arms", columns, lines, folded=True, yields=2)


def _rule(value: float | str | tuple[float, ...]) -> str:
    return one_line(", ".join(f"{one:g}" for one in value) if isinstance(value, tuple) else value)
