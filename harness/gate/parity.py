"""Parity of head: every comparison of every process. One differing bit, or nothing compared, is never a pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from harness.gate.evidence import RowEvidence
from harness.gate.schema import ParityBlock, ParityCheck, Verdict
from harness.progress import row_name
from harness.schema import Check, CheckStatus, Measurement, PlannedRow, When

PHASES: tuple[When, When] = ("before", "after")


def judge_parity(row: RowEvidence) -> tuple[Verdict, str]:
    """ "same", "wrong" with the first failing check, "broken" for a hole in the proof, "cannot_tell" if it shrank."""
    proofs, owed = row.proofs, _checks(row.base, "passed", "failed")
    failed = first_failed(proofs)
    if failed is not None:
        also = "; base fails it, too" if first_failed(row.base) is not None else ""
        return "wrong", described(failed) + also
    for measured in proofs:
        if measured.status not in ("ok", "throttled"):
            return "wrong", measured.reason or f"status {measured.status}"
        hole = _hole(measured.proof)
        if hole:
            return "broken", hole
        lost = sorted(owed - _checks([measured], "passed"))
        if lost:
            name, when = lost[0]
            return "broken", f"{name} ({when} the timed loop): base makes it, and head does not show it"
    fewer = _fewer(row)
    if fewer:
        return "cannot_tell", fewer
    return "same", "base fails a check that head passes" if first_failed(row.base) is not None else ""


def first_failed(measured: Iterable[Measurement]) -> Check | None:
    """The first check that failed, or passed with differing bits."""
    checks = (check for one in measured for check in one.proof)
    return next((check for check in checks if check.status == "failed" or check.differing != 0), None)


def described(check: Check) -> str:
    """One line: which check, when, and the first element that differs."""
    first = f"; first at {check.first_difference}" if check.first_difference else ""
    return f"{check.name} ({check.when} the timed loop): {check.reason or f'{check.differing} values differ'}{first}"


def parity_block(rows: Sequence[RowEvidence], rerun: Callable[[PlannedRow], str]) -> ParityBlock:
    """All checks of head by name, and the first that failed with the command that makes its row again."""
    table: dict[str, ParityCheck] = {}
    divergence = reproduce = ""
    for row in rows:
        proofs = row.proofs
        for check in (check for measured in proofs for check in measured.proof):
            table[check.name] = _with(table.get(check.name, ParityCheck(name=check.name)), check)
        failed = first_failed(proofs)
        if failed is not None and not divergence:
            divergence, reproduce = f"{row_name(row.row)}: {described(failed)}", rerun(row.row)
    return ParityBlock(checks=tuple(table.values()), first_divergence=divergence, reproduce=reproduce)


def _with(sums: ParityCheck, check: Check) -> ParityCheck:
    return ParityCheck(
        name=sums.name,
        passed=sums.passed + (check.status == "passed"),
        failed=sums.failed + (check.status == "failed"),
        not_applicable=sums.not_applicable + (check.status == "not_applicable"),
        values=sums.values + check.values,
        differing=sums.differing + check.differing,
    )


def _hole(proof: Sequence[Check]) -> str:
    """What a proof lacks; empty if something was shown both before and after the timed loop."""
    for phase in PHASES:
        shown = [check for check in proof if check.when == phase and check.status == "passed"]
        if not shown:
            return f"nothing was proven {phase} the timed loop"
        empty = [check.name for check in shown if not check.values > 0]
        if empty:
            return f"{empty[0]} ({phase} the timed loop) passed without a value compared"
    return ""


def _fewer(row: RowEvidence) -> str:
    """The first check for which head compared fewer values than base; empty if there is none."""
    most: Counter[tuple[str, When]] = Counter()
    for check in (check for one in row.base for check in one.proof):
        most[check.name, check.when] = max(most[check.name, check.when], check.values)
    for check in (check for one in row.proofs for check in one.proof):
        base = most[check.name, check.when]
        if check.status == "passed" and not check.values >= base:
            return (
                f"{check.name} ({check.when} the timed loop): {check.values:,} values compared, base compared {base:,}"
            )
    return ""


def _checks(measured: Iterable[Measurement], *ended: CheckStatus) -> set[tuple[str, When]]:
    return {(check.name, check.when) for one in measured for check in one.proof if check.status in ended}
