"""Figures of runs as Markdown for a page: from stored rows alone, put between the page's marks and nowhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.profile import write_profiles
from harness.schema import Target
from harness.store import ENVIRONMENT, PLAN, read_plan, write_record
from reports.figures import BEGIN, END, figures, replaced
from suites.reports.stored_profiles import profile
from suites.reports.stored_runs import BOTH, machine, ok, passed, planned, write_run
from suites.status import not_applicable

ROWS = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",), device="cuda")[:2]
PAGE = f"# Performance\n\nBefore.\n\n{BEGIN}\nold figures\n{END}\n\nBehind.\n"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    first = ok(ROWS[0])
    assert first.metrics is not None
    shape = msgspec.structs.replace(first.shape, verify=4)
    metrics = msgspec.structs.replace(first.metrics, verify_ratio=1.1254)
    proof = (*first.proof, *(passed("verified = decoded", when) for when in BOTH))
    first = msgspec.structs.replace(first, shape=shape, metrics=metrics, proof=proof)
    folder = write_run(tmp_path / "rows", [first, ok(ROWS[1])])
    target = Target(name="four at once", where="", figure="verify_ratio", must=1.1, rows=(ROWS[0].id,))
    write_record(folder / PLAN, msgspec.structs.replace(read_plan(folder), targets=(target,)))
    return folder


@pytest.fixture
def kernels(tmp_path: Path) -> Path:
    folder = tmp_path / "kernels"
    folder.mkdir()
    write_record(folder / ENVIRONMENT, machine(True, {}))
    write_profiles(folder, (profile(3),))
    return folder


def test_machine_targets_and_speeds_of_a_run(rows: Path) -> None:
    text = figures([rows])
    assert "Machine: NVIDIA H200 (driver 580.159, CUDA 13.0)" in text
    assert "read 4,690 GB/s" in text
    assert "PASS: 2 rows proven." in text
    line = next(line for line in text.splitlines() if line.startswith("| four at once |"))
    assert "missed by 2.3 %" in line
    assert "4 rows: 1.125" in text
    assert text.count("| --: |") >= 2


def test_kernels_of_a_step(kernels: Path) -> None:
    text = figures([kernels])
    assert "matmul_q4_k_matvec_1" in text
    assert "gaps between kernels" in text


def test_several_runs_stand_in_their_order(rows: Path, kernels: Path) -> None:
    text = figures([rows, kernels])
    assert 0 < text.index("four at once") < text.index("gaps between kernels")


def test_only_what_is_between_the_marks_is_replaced(tmp_path: Path, rows: Path, kernels: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert zeroulp(["report", "figures", str(rows), str(kernels), "--into", str(page)]) == 0
    once = page.read_text()
    assert once.startswith(f"# Performance\n\nBefore.\n\n{BEGIN}\n\nMachine: ")
    assert once.endswith(f"\n\n{END}\n\nBehind.\n")
    assert "old figures" not in once
    assert zeroulp(["report", "figures", str(rows), str(kernels), "--into", str(page)]) == 0
    assert page.read_text() == once


@pytest.mark.parametrize("page", ["no marks\n", f"{BEGIN}\nno end\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_both_marks_stays_as_it_is(
    tmp_path: Path, rows: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "page.md"
    path.write_text(page)
    assert zeroulp(["report", "figures", str(rows), "--into", str(path)]) == 2
    assert "page.md: expected a line <!-- figures: begin -->" in capsys.readouterr().err
    assert path.read_text() == page


def test_a_folder_without_figures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="holds neither rows nor profiles"):
        figures([tmp_path])
    with pytest.raises(BadCall, match="expected a line"):
        replaced("", "x", name="page")


def test_the_page_of_the_project_can_take_figures() -> None:
    page = Path(__file__).parents[2] / "docs" / "performance.md"
    if not page.exists():
        not_applicable("installed without the documentation")
    made = replaced(page.read_text(), "new figures\n", name="page")
    assert f"{BEGIN}\n\nnew figures\n\n{END}\n" in made


def test_a_deep_row_is_named_by_its_depth_and_others_say_nothing_of_it(tmp_path: Path) -> None:
    """Its rows at once would tell it apart as well, but a speed means little without the depth."""
    first, second = (ok(row) for row in ROWS)
    deep = msgspec.structs.replace(second.shape, depth=3968)
    at_once = msgspec.structs.replace(first.shape, verify=4)
    folder = write_run(
        tmp_path / "rows",
        [msgspec.structs.replace(first, shape=at_once), msgspec.structs.replace(second, shape=deep)],
    )
    named = [line.split("|")[1].strip() for line in figures([folder]).splitlines() if "proven |" in line]
    assert named == ["depth 0", "depth 3968"]
    other = ok(planned(quants=("Q4_K_M",), contexts=(64,), kvs=("f16",), device="cuda")[0])
    folder = write_run(
        tmp_path / "more",
        [msgspec.structs.replace(other, shape=at_once), msgspec.structs.replace(second, shape=deep)],
    )
    named = [line.split("|")[1].strip() for line in figures([folder]).splitlines() if "proven |" in line]
    assert [("depth" in name, "verify" in name) for name in named] == [(False, False), (True, False)]
