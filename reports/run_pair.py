"""Two finished run folders as a gate's result: parity and counts decide; times were not paired and only describe."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.errors import BadCall
from harness.gate.schema import Arm, GateResult, ParityBlock, ParityCheck, RowVerdict, Verdict
from harness.schema import Check, PlannedRow, Row
from harness.store import StoredRun
from reports.gate_verdict import WORDS, counted, exit_code
from reports.reproduce import command, configuration
from reports.run_counts import counts_moved
from reports.selftest import stored_score
from reports.text import one_line
from reports.units import plural
from reports.verdict import check_failure, failed, outcome, why

NOT_PAIRED = "not paired: two separate runs, no interval"
UNLIKE = "not shown: the runs were made on different machines"

_PARITY: dict[str, Verdict] = {"proven": "same", "different": "wrong", "missing": "missing", "unproven": "cannot_tell"}


def compare_runs(base: StoredRun, head: StoredRun) -> GateResult:
    """Head against base, row by row of the same model, shape, toggles and device.

    Rows of base that head does not have are missing. Raises BadCall if the runs have no row in common.
    """
    before, now = _by_key(base), _by_key(head)
    if not before.keys() & now.keys():
        raise BadCall(f"{head.folder}: has no row of the same model, shape, toggles and device as {base.folder}")
    rows = [row for key in now for row in _judge(key, before.get(key), now[key], base, head)]
    rows += [
        _verdict(key, row, "missing", reason="base has it, head does not")
        for key, row in before.items()
        if key not in now
    ]
    result = GateResult(
        base=_arm(base),
        head=_arm(head),
        device=", ".join(dict.fromkeys(row.device for row in now.values())),
        gpu=head.environment.gpu,
        policy={},
        rows=tuple(rows),
        parity=_parity(head),
        selftest=stored_score(head.folder),
        environment=head.environment,
        notes=tuple(_notes(base, head, len(now.keys() - before.keys()))),
        started=head.plan.started,
        seconds=sum(row.seconds for row in head.rows),
        exit_code=0,
        headline="",
    )
    code = exit_code(result)
    if code == 0 and any(row.verdict != "same" for row in rows if row.metric == "parity"):
        code = 3
    return msgspec.structs.replace(result, exit_code=code, headline=f"{WORDS[code]}: {counted(result)}")


def _by_key(run: StoredRun) -> dict[str, Row | PlannedRow]:
    rows: list[Row | PlannedRow] = [*run.rows, *run.missing]
    return {row.key: row for row in rows}


def _judge(
    key: str, before: Row | PlannedRow | None, now: Row | PlannedRow, base: StoredRun, head: StoredRun
) -> list[RowVerdict]:
    rerun = command(head, now)
    if not isinstance(now, Row):
        return [_verdict(key, now, "missing", reason="planned, but no result was stored", rerun=rerun)]
    ended = outcome(now, head.environment.ceilings)
    if ended == "not applicable":
        return []
    parity = _PARITY.get(ended, "broken")
    reason = why(now, head.environment.ceilings) or ("" if parity == "same" else ended)
    verdicts = [_verdict(key, now, parity, reason=reason, rerun=rerun)]
    if isinstance(before, Row) and before.metrics is not None and now.metrics is not None:
        direction, moved = counts_moved(before, now)
        counts = _verdict(key, now, direction, reason=moved, rerun=rerun)
        verdicts.append(msgspec.structs.replace(counts, metric="counts"))
        verdicts += _times(key, before, now) if _same_machine(base, head) else []
    return verdicts


def _times(key: str, before: Row, now: Row) -> Iterable[RowVerdict]:
    """The medians that both runs stored, in microseconds."""
    assert before.metrics is not None
    assert now.metrics is not None
    phases = (
        ("decode", before.metrics.decode_tps, now.metrics.decode_tps, 1),
        ("prefill", before.metrics.prefill_tps, now.metrics.prefill_tps, now.shape.prompt),
    )
    for metric, old, new, tokens in phases:
        if old is not None and new is not None and old.median > 0 and new.median > 0:
            yield msgspec.structs.replace(
                _verdict(key, now, "cannot_tell", reason=NOT_PAIRED),
                metric=metric,
                base_us=tokens * 1e6 / old.median,
                head_us=tokens * 1e6 / new.median,
                ratio=old.median / new.median,
            )


def _verdict(key: str, row: Row | PlannedRow, verdict: Verdict, *, reason: str = "", rerun: str = "") -> RowVerdict:
    return RowVerdict(
        key=key,
        label=configuration(row),
        model=f"{row.model.name} {row.model.quant}",
        shape=row.shape,
        toggles=row.toggles,
        metric="parity",
        verdict=verdict,
        reason=reason,
        rerun=rerun,
    )


def _parity(head: StoredRun) -> ParityBlock:
    checks: dict[str, list[Check]] = {}
    for row in head.rows:
        for check in row.proof:
            checks.setdefault(check.name, []).append(check)
    first, reproduce = _first_divergence(head)
    return ParityBlock(
        checks=tuple(_together(name, found) for name, found in checks.items()),
        first_divergence=first,
        reproduce=reproduce,
    )


def _together(name: str, checks: list[Check]) -> ParityCheck:
    idle = sum(check.status == "not_applicable" for check in checks)
    bad = sum(failed(check) for check in checks)
    return ParityCheck(
        name=name,
        passed=len(checks) - idle - bad,
        failed=bad,
        not_applicable=idle,
        values=sum(check.values for check in checks),
        differing=sum(check.differing for check in checks),
    )


def _first_divergence(head: StoredRun) -> tuple[str, str]:
    """In words, and the command that makes its row again; empty where every check passed."""
    for row in head.rows:
        for check in row.proof:
            if failed(check):
                place = f", first at {check.first_difference}" if check.first_difference else ""
                return f"{configuration(row)}: {one_line(check_failure(check) + place)}", command(head, row)
    return "", ""


def _notes(base: StoredRun, head: StoredRun, added: int) -> Iterable[str]:
    yield "two finished runs: parity and counts decide, times are not paired and decide nothing"
    if not _same_machine(base, head):
        yield f"times {UNLIKE}"
    if base.environment.numerics != head.environment.numerics:
        old, new = base.environment.numerics, head.environment.numerics
        yield f"numerics {old} in base, {new} in head: bits may differ between the arms"
    if added:
        yield f"{plural(added, 'row')} of head {'is' if added == 1 else 'are'} not in base; parity alone was judged"
    for side, run in (("base", base), ("head", head)):
        yield from (f"{side}: {problem}" for problem in run.problems)


def _same_machine(base: StoredRun, head: StoredRun) -> bool:
    """Whether times may stand beside each other at all: the same GPU, not only one of the same name."""
    old, new = base.environment.gpu, head.environment.gpu
    return old is not None and new is not None and old.uuid == new.uuid


def _arm(run: StoredRun) -> Arm:
    made = run.environment
    return Arm(
        spec=run.folder.name,
        kind="run",
        git_sha=made.git_commit,
        version=made.version,
        dirty=made.git_dirty,
        numerics=made.numerics,
    )
