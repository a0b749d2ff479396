"""The pages that a reader may meet, written as files: reports of gates and of runs, good, bad and hostile."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.gate.schema import GateResult
from reports.pr import page
from reports.run_report import write_report
from suites.reports.gates import failing, gate, passing, same, unsure, verdict
from suites.reports.hostile import ALL, hostile_gate
from suites.reports.stored_runs import bad, differing, ok, planned, write_run

GATES: dict[str, Callable[[], GateResult]] = {
    "gate passes": passing,
    "gate fails": failing,
    "gate cannot tell": unsure,
    "gate is broken": lambda: gate(verdict("missing"), verdict("broken", 1), *same(3), exit_code=2),
    "gate is empty": lambda: gate(exit_code=3),
    "gate is long": lambda: gate(*(verdict("slower", place) for place in range(40)), *same(300), exit_code=1),
    "gate is hostile": hostile_gate,
}
TEXT = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "div", "p", "span", "nav", "a", "section", "pre"}
TABLES = {"table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
ELEMENTS = TEXT | TABLES | {"ul", "li", "figure", "figcaption", "picture", "source", "img"}  # all that a page may have
RUNS = ("run passes", "run fails", "run on a GPU", "run is hostile")


def write_page(name: str, folder: Path) -> Path:
    """One of GATES or RUNS, written into a new folder."""
    folder.mkdir(parents=True)
    if name in GATES:
        path = folder / "pr.html"
        path.write_text(page(GATES[name]()))
        return path
    return _run(name, folder / "run") / "report.html"


def _run(name: str, folder: Path) -> Path:
    plan = planned(quants=("Q8_0",), contexts=(64,))
    if name == "run on a GPU":
        plan = planned(("qwen3-8b",), ("Q8_0", "Q4_K_M"), (4096,), device="cuda")
    if name == "run is hostile":
        plan = tuple(
            msgspec.structs.replace(row, model=msgspec.structs.replace(row.model, name=ALL), toggles={ALL: ALL})
            for row in plan
        )
    rows = [ok(row) for row in plan]
    if name in ("run fails", "run is hostile"):
        rows[1] = ok(plan[1], proof=(*rows[1].proof, differing("graph = direct", "after", first=ALL)))
        rows[2] = bad(plan[2], "crashed", ALL)
    write_run(folder, rows, plan=plan)
    write_report(folder)
    return folder
