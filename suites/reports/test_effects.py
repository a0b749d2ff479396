"""What a toggle does to the speed: pairs that differ in it alone, a t interval over them, and nothing without times."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from scipy import stats

from harness.cli.main import zeroulp
from harness.measure import spread
from harness.schema import PlannedRow, Row
from harness.store import read_run
from reports.effects import Effect, main_effects
from reports.run_report import write_report
from suites.reports.page import read_page
from suites.reports.stored_runs import bad, differing, ok, planned, write_run

PLAN = planned(("qwen3-8b",), ("Q4_K_M", "Q8_0"), (256, 4096), ("f16",), device="cuda")  # graph, prefill: 16 rows
LOGS = {("Q4_K_M", 256): 0.30, ("Q4_K_M", 4096): 0.32, ("Q8_0", 256): 0.34, ("Q8_0", 4096): 0.28}


def timed(plan: PlannedRow, decode: float, prefill: float = 500.0) -> Row:
    row = ok(plan)
    assert row.metrics is not None
    metrics = msgspec.structs.replace(
        row.metrics, decode_tps=spread([decode]), prefill_tps=spread([prefill]), percent_of_read_ceiling=None
    )
    return msgspec.structs.replace(row, metrics=metrics)


def by_graph(plan: PlannedRow) -> Row:
    """A graph is worth exp(LOGS) in decode; prefill gains a tenth from being batched, exactly."""
    gain = LOGS[plan.model.quant, plan.shape.context] if plan.toggles["graph"] == "on" else 0.0
    return timed(plan, 100.0 * math.exp(gain), 550.0 if plan.toggles["prefill"] == "batched" else 500.0)


def effects(folder: Path, rows: Sequence[Row], make: Callable[[Effect], bool] = lambda effect: True) -> list[Effect]:
    return [effect for effect in main_effects(read_run(write_run(folder, rows))) if make(effect)]


def test_an_effect_is_the_mean_of_the_pairs_with_its_t_interval(tmp_path: Path) -> None:
    found = {(one.toggle, one.phase): one for one in effects(tmp_path / "run", [by_graph(plan) for plan in PLAN])}
    logs = [log for log in LOGS.values() for _ in ("batched", "sequential")]
    expected = stats.ttest_1samp(logs, 0.0)
    low, high = expected.confidence_interval(0.95)
    graph = found["graph", "decode"]
    assert (graph.value, graph.against, graph.pairs, graph.alone) == ("on", "off", 8, 0)
    assert graph.ratio == pytest.approx(math.exp(0.31))
    assert [graph.low, graph.high] == pytest.approx([math.exp(low), math.exp(high)])
    assert [graph.least, graph.most] == pytest.approx([math.exp(0.28), math.exp(0.34)])
    prefill = found["prefill", "prefill"]
    assert (prefill.value, prefill.against) == ("batched", "sequential")
    assert [prefill.ratio, prefill.low, prefill.high] == pytest.approx([1.1] * 3)
    assert found["graph", "prefill"].ratio == pytest.approx(1.0)


def test_a_toggle_that_never_varies_has_no_effect(tmp_path: Path) -> None:
    found = effects(tmp_path / "run", [by_graph(plan) for plan in PLAN])
    assert {one.toggle for one in found} == {"graph", "prefill"}  # pdl, chunk, kv and matmul have one value


def test_a_row_without_its_partner_is_in_no_pair_and_counted(tmp_path: Path) -> None:
    rows = [by_graph(plan) for plan in PLAN]
    lost = next(row for row in rows if row.toggles["graph"] == "off")
    found = effects(tmp_path / "run", [row for row in rows if row is not lost])
    assert [(one.toggle, one.pairs, one.alone) for one in found if one.phase == "decode"] == [
        ("graph", 7, 1),
        ("prefill", 7, 1),
    ]


def test_rows_that_are_not_proven_are_in_no_pair(tmp_path: Path) -> None:
    rows = [by_graph(plan) for plan in PLAN]
    wrong = differing("graph = direct", "after")
    rows[0] = msgspec.structs.replace(rows[0], status="parity_failed", proof=(*rows[0].proof, wrong))
    rows[1] = bad(PLAN[1], "crashed", "why")
    assert {(one.pairs, one.alone) for one in effects(tmp_path / "run", rows) if one.toggle == "graph"} == {(6, 2)}


def test_rows_of_two_machines_are_no_pair(tmp_path: Path) -> None:
    rows = [by_graph(plan) for plan in PLAN]
    moved = [msgspec.structs.replace(row, environment="other") if row.toggles["graph"] == "on" else row for row in rows]
    assert {one.toggle for one in effects(tmp_path / "run", moved)} == {"prefill"}


def test_a_toggle_of_three_values_is_held_against_one_of_them(tmp_path: Path) -> None:
    base = PLAN[0]
    chunks = {chunk: {**base.toggles, "chunk": chunk} for chunk in (64, 128, 512)}
    plans = [msgspec.structs.replace(base, id=f"m{chunk}", toggles=toggles) for chunk, toggles in chunks.items()]
    rows = [timed(plan, speed) for plan, speed in zip(plans, (80.0, 90.0, 100.0), strict=True)]
    found = effects(tmp_path / "run", rows, lambda effect: effect.phase == "decode")
    assert [(one.value, one.against) for one in found] == [(64, 512), (128, 512)]
    assert [one.ratio for one in found] == pytest.approx([0.8, 0.9])
    assert {(one.pairs, one.low, one.high) for one in found} == {(1, None, None)}


def test_host_rows_without_times_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", [ok(plan) for plan in planned(quants=("Q8_0",), contexts=(64,))])
    assert main_effects(read_run(folder)) == ()
    write_report(folder)
    assert "What a toggle does" not in (folder / "report.html").read_text()
    assert zeroulp(["report", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["effects"] == []


def test_the_report_has_them_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path / "run", [by_graph(plan) for plan in PLAN])
    assert zeroulp(["report", str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["effects"]
    stored = list(main_effects(read_run(folder)))
    assert [msgspec.convert(one, Effect) for one in told] == stored
    table = read_page((folder / "report.html").read_text()).table("toggle", "pairs")
    lines = {(line[0], line[2]): line for line in table}
    graph = next(one for one in stored if (one.toggle, one.phase) == ("graph", "decode"))
    assert graph.low is not None
    assert graph.high is not None
    shown = f"+36.3 % ± {50 * (graph.high - graph.low):.1f}"
    assert lines["graph", "decode"] == ["graph", "on against off", "decode", shown, "8", "0", "+32.3 %", "+40.5 %"]
