"""Parity in a gate: what was compared, the first difference, and the command that shows it again."""

from __future__ import annotations

from harness.command_proof import ORACLES
from harness.gate.schema import GateResult, ParityCheck
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Section, Table, Tone, table
from reports.gate_verdict import check_failed, parity_failed
from reports.reproduce import typed
from reports.text import one_line


def section(result: GateResult) -> Section:
    block = result.parity
    blocks: list[Block] = [_summary(result)]
    if block.first_divergence:
        blocks.append(Paragraph(text=f"First divergence: {one_line(block.first_divergence)}", tone="bad"))
    if block.reproduce:
        blocks += [Paragraph(text="To reproduce it:"), typed(block.reproduce)]
    if block.checks:
        blocks.append(_table(block.checks, folded=not parity_failed(result)))
    return Section(title="Parity", blocks=tuple(blocks))


def _summary(result: GateResult) -> Paragraph:
    checks = result.parity.checks
    values, differing = sum(check.values for check in checks), sum(check.differing for check in checks)
    made, bad = sum(check.passed + check.failed for check in checks), sum(check.failed for check in checks)
    idle = sum(check.not_applicable for check in checks)
    if not values > 0:
        return Paragraph(text="Nothing was compared.", tone="unsure")
    how = (
        "within the bound of a foreign engine, or by bits,"
        if {*ORACLES} & {check.name for check in checks}
        else "by bits"
    )
    text = f"{values:,} values compared {how} in {plural(made, 'check')}: {differing:,} differ, "
    text += f"{plural(bad, 'check')} failed" if parity_failed(result) else "no check failed"
    text += f"; {plural(idle, 'check')} not applicable, which is not a pass." if idle else "."
    return Paragraph(
        text=f"{'✗' if parity_failed(result) else '✓'} {text}", tone="bad" if parity_failed(result) else "good"
    )


def _table(checks: tuple[ParityCheck, ...], *, folded: bool) -> Table:
    columns = ("check", "passed", "failed", "not applicable", "values", "differing")
    lines = [_line(check) for check in sorted(checks, key=lambda check: not check_failed(check))]
    caption = f"{plural(len(checks), 'kind')} of check, each before and after the timed loop"
    return table(caption, columns, lines, numbers=columns[1:], folded=folded, yields=3 if folded else 8)


def _line(check: ParityCheck) -> tuple[str | Cell, ...]:
    icon, tone = _mark(check)
    return (
        Cell(text=f"{icon} {one_line(check.name)}", tone=tone),
        f"{check.passed:,}",
        Cell(text=f"{check.failed:,}", tone="bad" if check.failed else ""),
        f"{check.not_applicable:,}",
        f"{check.values:,}",
        Cell(text=f"{check.differing:,}", tone="bad" if check.differing else ""),
    )


def _mark(check: ParityCheck) -> tuple[str, Tone]:
    if check_failed(check):
        return "✗", "bad"
    return ("✓", "good") if check.passed and check.values else ("—", "")
