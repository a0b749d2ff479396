"""What can be counted is gated exactly: launches, kernels of the graph, paths that engage."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

from harness.gate.arms import SIDES
from harness.gate.counts import judge_counts
from harness.gate.evidence import RowEvidence
from harness.schema import Measurement
from harness.schema import Path as Engagement
from suites.harness.gate_fakes import Act, Machine, gate, one, plan, planned
from suites.harness.test_gate import on_head


def test_one_launch_more_fails_and_one_less_is_said(tmp_path: Path) -> None:
    more = on_head(lambda measured: msgspec.structs.replace(measured, graph_kernels_per_token=41.0))
    result = gate(tmp_path / "more", Machine(spoil=more), plan(24))
    assert one(result, 24, "counts").verdict == "slower"
    assert one(result, 24, "counts").reason == "graph kernels per token 40 -> 41"
    assert result.exit_code == 1
    less = on_head(lambda measured: msgspec.structs.replace(measured, graph_kernels_per_token=39.0))
    result = gate(tmp_path / "less", Machine(spoil=less), plan(24))
    assert one(result, 24, "counts").verdict == "faster"
    assert result.exit_code == 0


@pytest.mark.parametrize(
    "engaged",
    [
        {},
        {"graph": Engagement(asked="on", engaged=False, reason="gated off")},
        {"graph": Engagement(asked="on", engaged=None)},
    ],
)
def test_a_path_that_no_longer_engages_fails(tmp_path: Path, engaged: dict[str, Engagement]) -> None:
    fallen = on_head(lambda measured: msgspec.structs.replace(measured, engaged=engaged))
    result = gate(tmp_path, Machine(spoil=fallen), plan(24))
    row = one(result, 24, "counts")
    assert row.verdict == "slower"
    assert "graph engaged in base and not in head" in row.reason
    assert result.exit_code == 1


@pytest.mark.parametrize("count", [math.nan, math.inf, -1.0])
@pytest.mark.parametrize("side", ["base", "head"])
def test_a_count_that_is_none_is_broken(side: str, count: float) -> None:
    row = planned(24)
    good = Measurement(key=row.key, id=row.id, status="ok", launches_per_token=1.0, graph_kernels_per_token=40.0)
    bad = msgspec.structs.replace(good, graph_kernels_per_token=count)
    base, head = (bad if side == name else good for name in SIDES)
    counts = judge_counts(RowEvidence(row=row, base=[base], head=[head]))
    assert counts is not None
    assert (counts.verdict, counts.reason) == ("broken", f"{side} counted no launch")


def test_counts_that_vary_are_broken(tmp_path: Path) -> None:
    def vary(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return msgspec.structs.replace(measured, launches_per_token=1.0 + act.pair)

    assert gate(tmp_path, Machine(spoil=vary), plan(24)).exit_code == 2
