"""What the processes said of each row that is owed. Nothing is dropped: what is not there is a fault of its row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from harness.gate.arms import SIDES, Side
from harness.gate.processes import Outcome
from harness.schema import Canary, Measurement, PlannedRow

BAD_ENDINGS = ("crashed", "hung", "out_of_memory", "error")  # "throttled" costs a row its times alone


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why a row has no verdict of its own."""

    side: Side
    verdict: Literal["missing", "broken"]
    reason: str


@dataclass(kw_only=True)
class RowEvidence:
    """Measurements of one row by arm, in the order of the pairs; the two of a pair stand at the same place."""

    row: PlannedRow
    base: list[Measurement] = field(default_factory=list)
    head: list[Measurement] = field(default_factory=list)
    again: list[Measurement] = field(default_factory=list)  # of head, in a process that only checks parity
    confirmed: list[Measurement] = field(default_factory=list)  # of head, in the pairs that confirm: their bits count
    faults: list[Fault] = field(default_factory=list)

    def of(self, side: Side) -> list[Measurement]:
        return self.base if side == "base" else self.head

    @property
    def proofs(self) -> list[Measurement]:
        """Every process of head that compared bits."""
        return [*self.head, *self.again, *self.confirmed]

    @property
    def unknown_to_base(self) -> bool:
        """Whether head alone has such a row."""
        return any(measured.status == "not_applicable" for measured in self.base)

    @property
    def ended(self) -> bool:
        """Whether more pairs cannot change what is said of it."""
        measured = any(one.status != "ok" for one in (*self.base, *self.head))
        return bool(self.faults) or measured


@dataclass(kw_only=True)
class Evidence:
    """All rows by key, and the canaries by name: one for each process that measured them, in the order of the pairs."""

    rows: dict[str, RowEvidence]
    canaries: dict[Side, dict[str, list[Canary]]] = field(default_factory=lambda: {side: {} for side in SIDES})

    @classmethod
    def owed(cls, rows: Iterable[PlannedRow]) -> Evidence:
        return cls(rows={row.key: RowEvidence(row=row) for row in rows})

    def add(self, outcome: Outcome) -> None:
        """Take in a process; every row it was asked for gets a measurement or a fault."""
        step = outcome.step
        found: Mapping[str, Measurement] = {}
        if outcome.answer is not None:
            # By id, not by key: a build that lacks a toggle computes another key.
            found = {measured.id: measured for measured in outcome.answer.rows}
            for canary in outcome.answer.canaries:
                self.canaries[step.side].setdefault(canary.name, []).append(canary)
        for row in step.rows:
            evidence = self.rows[row.key]
            fault = _fault(outcome, found.get(row.id))
            if fault is not None:
                evidence.faults.append(fault)
            elif step.stage == "recheck":
                evidence.again.append(found[row.id])
            else:
                evidence.of(step.side).append(found[row.id])

    def forget_times(self) -> None:
        """Where those of the two arms cannot stand beside each other."""
        for row in self.rows.values():
            for side in SIDES:
                row.of(side)[:] = [msgspec.structs.replace(one, prefill=None, decode=None) for one in row.of(side)]


def _fault(outcome: Outcome, measured: Measurement | None) -> Fault | None:
    side = outcome.step.side
    if outcome.answer is None:
        return Fault(side=side, verdict="broken", reason=outcome.reason)
    if measured is not None and sum(one.id == measured.id for one in outcome.answer.rows) > 1:
        return Fault(side=side, verdict="broken", reason=f"{side} answered the row more than once")
    if measured is None:
        return Fault(side=side, verdict="missing", reason=f"{side} was asked for the row and did not answer it")
    if measured.status in BAD_ENDINGS:
        return Fault(
            side=side, verdict="broken", reason=f"{side} {measured.status.replace('_', ' ')}: {measured.reason}"
        )
    if side == "head" and measured.status == "not_applicable":
        return Fault(side=side, verdict="missing", reason=f"does not apply in head: {measured.reason}")
    return None
