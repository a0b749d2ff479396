"""Figures of runs as Markdown for a page: from stored rows alone, put between the page's marks and nowhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.aa_schema import RESULT, AaFault, AaResult, CanaryNoise, Fit, RowNoise
from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.merge import merge_runs
from harness.profile import write_profiles
from harness.schema import Target
from harness.store import ENVIRONMENT, PLAN, read_environment, read_plan, write_record
from reports.figures import BEGIN, END, figures, replaced
from suites.harness.records import TIME
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


def test_code_without_a_commit_is_named_by_its_tree(rows: Path) -> None:
    made = read_environment(rows)
    for commit, tree, expected in (("0123456789abcdef", "feed", "commit 0123456789ab."), ("", "feed", "tree feed.")):
        write_record(rows / ENVIRONMENT, msgspec.structs.replace(made, git_commit=commit, git_dirty=False, tree=tree))
        assert f"numerics {made.numerics}, {expected}" in figures([rows])


def test_a_merged_run_says_how_each_part_was_made(rows: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", [ok(ROWS[1])])
    commands = "zeroulp bench a.toml --where 'quant == \"Q8_0\"'", "zeroulp bench b.toml"
    for folder, command in zip((rows, other), commands, strict=True):
        write_record(folder / ENVIRONMENT, msgspec.structs.replace(read_environment(folder), command=command))
    merge_runs([rows, other], tmp_path / "both", command="zeroulp store merge")
    merge_runs([tmp_path / "both", other], tmp_path / "again", command="zeroulp store merge")
    for merged in ("both", "again"):
        text = figures([tmp_path / merged])
        assert [text.count(f"```\n{command}\n```") for command in commands] == [1, 1]


def noisy(folder: Path, *, moved: bool) -> Path:
    """A finished A/A run of one row."""
    fit = Fit(sd=0.0046, low=0.00234, high=0.0119, processes=8)
    row = RowNoise(
        key="k", label="qwen3-8b | Q8_0, 512 + 128 tokens", metric="prefill", median_us=40869.166, fit=fit,
        noise_class="normal", pairs=4.25, smallest_visible=0.0243, false_alarms=1, splits=16,
    )  # fmt: skip
    fault = AaFault(kind="moved", label="matvec", reason="moved by more than 0.7%")
    result = AaResult(
        started=TIME, command="zeroulp aa rows.toml", device="cuda", gpu=machine(True, {}).gpu, tree="f00d",
        version="1", processes=8, owed=1, timed=True, rows=(row,), canaries=(CanaryNoise(name="matvec", fit=fit),),
        faults=(fault,) if moved else (), notes=(), seconds=9.0, exit_code=3 if moved else 0, headline="as it was",
    )  # fmt: skip
    folder.mkdir()
    write_record(folder / RESULT, result)
    return folder


def test_runs_against_themselves_are_one_table(tmp_path: Path, rows: Path) -> None:
    text = figures([noisy(tmp_path / "first", moved=False), rows, noisy(tmp_path / "second", moved=True)])
    found = [line for line in text.splitlines() if "512 + 128 tokens" in line]
    assert found == [found[0]] * 2
    assert "| prefill | 40,869.2 | 0.46 % (0.23 % to 1.19 %) | normal | 4.2 | 2.4 % | 1 of 16 |" in found[0]
    assert found[0].count(" | ") == 7
    assert text.count("process noise (95 %) | class") == 1
    assert text.count("as it was") == text.count("zeroulp aa rows.toml") == 2
    canaries = [line for line in text.splitlines() if line.startswith("| matvec |")]
    assert [line.rpartition("% to 1.19 %) | ")[2] for line in canaries] == ["at rest |", "moved |"]
    assert text.index("2 rows proven") < text.index("40,869.2")


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
