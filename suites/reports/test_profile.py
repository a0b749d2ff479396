"""The profile page: its sums, what is above a ceiling, an earlier run beside it, and pictures that can be read."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.image import imread
from matplotlib.text import Text

from harness.errors import BadCall
from harness.profile import KERNELS, KernelRow, Profile, read_profiles
from harness.store import read_run
from reports.charts import roofline as roofline_chart
from reports.charts.style import DARK, LIGHT, png
from reports.profile import bars, decide, figures, moves, pairs, points
from reports.profile_report import PICTURES, figure, load
from reports.roofline import moves as row_moves
from reports.run_report import write_report
from suites.reports.page import read_page
from suites.reports.stored_profiles import kernel_row, of_kernels, profile, write_profile_run
from suites.reports.stored_runs import CEILINGS, ok, planned, write_run
from suites.reports.test_pictures import assert_no_overlap

PROFILES: dict[str, tuple[Profile, ...]] = {
    "one kernel": (profile(1),),
    "ten kernels": (profile(10),),
    "forty kernels": (profile(40),),
    "ninety kernels": (profile(90),),
    "long names": (profile(10, long=True),),
    "decode and prefill": (profile(20), profile(22, rows=512)),
}


@pytest.mark.parametrize("compared", [False, True], ids=["alone", "against"])
@pytest.mark.parametrize("name", PROFILES)
def test_pictures_are_readable(name: str, compared: bool, tmp_path: Path) -> None:
    run = write_profile_run(tmp_path / "run", *PROFILES[name])
    old = write_profile_run(tmp_path / "old", *(slower(item) for item in PROFILES[name])) if compared else None
    found, environment, _ = load(run, old)
    for file in PICTURES:
        drawing = figure(found, environment, file, LIGHT)
        pixels = imread(io.BytesIO(png(drawing)))
        assert pixels.shape[1] == 1100
        assert pixels.shape[0] <= 5500
        assert_no_overlap(drawing, file)


def test_dark_paper_has_light_ink(tmp_path: Path) -> None:
    found, environment, _ = load(write_profile_run(tmp_path / "run", profile(4)), None)
    for file in PICTURES:
        pixels = imread(io.BytesIO(png(figure(found, environment, file, DARK))))[..., :3]
        assert np.median(pixels) < 0.2
        assert pixels.max() > 0.8


def slower(item: Profile) -> Profile:
    """Every second kernel took longer by half; one that there is no more is added."""
    rows = [slow_row(i, row, item.rows) for i, row in enumerate(item.kernels)]
    return of_kernels([*rows, kernel_row(999, us=3.0, share=10.0, name="gone_kernel")], rows=item.rows)


def slow_row(number: int, row: KernelRow, rows: int) -> KernelRow:
    us = row.us.median * (1.5 if number % 2 else 1.0)
    return kernel_row(number, us=us, share=30.0, name=row.kernel, shape=row.shape, rows=rows)


def test_kernels_and_gaps_add_up_to_the_step() -> None:
    item = of_kernels([kernel_row(0, us=10.0, share=80.0), kernel_row(1, us=20.0, share=50.0)], gaps=120.0)
    assert (item.kernels_us, item.step_us.median, item.calls) == (1080.0, 1200.0, 72)
    assert item.gaps_us == pytest.approx(120.0)
    found = bars(pairs([item])[0])
    assert [bar.us for bar in found] == pytest.approx([720.0, 360.0, 120.0])
    assert [bar.ideal_us for bar in found] == pytest.approx([360.0, 288.0, 0.0])
    lines = figures(item)
    assert [line[4:6] for line in lines] == [
        ("720.0", "60.0 %"),
        ("360.0", "30.0 %"),
        ("120.0", "10.0 %"),
        ("1200.0", "100.0 %"),
    ]
    assert lines[0][6:] == ("1.69 GB", "2,345", "8.2", "50.0 %", "read")
    assert {len(line) for line in lines} == {11}


def test_figures_that_no_machine_reaches_are_broken() -> None:
    good = of_kernels([kernel_row(0, us=10.0, share=104.0)])
    assert decide([good], CEILINGS).exit_code == 0
    high = of_kernels([kernel_row(0, us=10.0, share=106.0)])
    assert decide([high], CEILINGS).exit_code == 2
    assert "its kernels together at 106.0 % of the measured ceilings" in decide([high], CEILINGS).headline
    step = msgspec.structs.replace(good, step_us=msgspec.structs.replace(good.step_us, median=300.0))
    assert "the whole step at 124.8 %" in decide([step], CEILINGS).headline
    nan = of_kernels([kernel_row(0, us=10.0, share=float("nan"))])
    assert decide([nan], CEILINGS).exit_code == 2
    assert decide([], CEILINGS).exit_code == 2


def test_one_kernel_above_a_ceiling_is_noted_among_others() -> None:
    item = of_kernels([kernel_row(0, us=100.0, share=50.0), kernel_row(1, us=1.0, share=140.0)])
    verdict = decide([item], CEILINGS)
    assert verdict.exit_code == 0
    assert any("1 kernel above 105 % of a ceiling, first matmul_q4_k_matvec_1" in reason for reason in verdict.reasons)


def test_bytes_that_the_launches_do_not_account_for_are_noted() -> None:
    item = of_kernels([kernel_row(0, us=10.0, share=50.0)])
    assert not [reason for reason in decide([item], CEILINGS).reasons if "the launches were given" in reason]
    less = msgspec.structs.replace(item, model_bytes=1.03 * item.model_bytes)
    assert [reason for reason in decide([less], CEILINGS).reasons if "the launches were given" in reason]


def test_a_page_against_an_earlier_run(tmp_path: Path) -> None:
    now = of_kernels([kernel_row(0, us=10.0, share=80.0), kernel_row(1, us=20.0, share=50.0, name="new_kernel")])
    was = of_kernels([kernel_row(0, us=15.0, share=50.0), kernel_row(2, us=30.0, share=40.0, name="old_kernel")])
    run, old = write_profile_run(tmp_path / "run", now), write_profile_run(tmp_path / "old", was)
    assert write_report(run, against=old).exit_code == 0
    page = read_page((run / "report.html").read_text())
    lines = {line[0]: line for line in page.table("kernel", "us before", "change")}
    assert lines["matmul_q4_k_matvec_0"][4] == "360.0"
    assert lines["matmul_q4_k_matvec_0"][-2:] == ["540.0", "-33.3 %"]
    assert lines["new_kernel"][-2:] == ["—", "new"]
    assert lines["old_kernel"][-2:] == ["1,080.0", "gone"]
    assert lines["the whole step"][-2:] == ["1,740.0", "-31.0 %"]
    assert (run / "profile.png").exists()
    (arrow,) = moves(pairs([now], [was])[0])
    assert (arrow[0].percent, arrow[1].percent) == (50.0, 80.0)
    assert write_report(run).exit_code == 0
    assert "us before" not in (run / "report.html").read_text()


def test_the_same_profile_gives_the_same_bytes(tmp_path: Path) -> None:
    run = write_profile_run(tmp_path / "run", profile(12))
    files = ("report.html", "report.md", *PICTURES)
    write_report(run)
    first = [(run / name).read_bytes() for name in files]
    write_report(run)
    assert first == [(run / name).read_bytes() for name in files]


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    row = kernel_row(0, us=10.0, share=50.0, name="<script>x</script>|`", shape="$a$ \n## b")
    run = write_profile_run(tmp_path / "run", of_kernels([row]))
    write_report(run)
    page = read_page((run / "report.html").read_text())
    assert "script" not in page.tags
    assert "<script>x</script>|`" in page.text


def test_rows_of_two_runs_are_joined_by_arrows(tmp_path: Path) -> None:
    plan = planned(("qwen3-8b",), ("Q4_K_M",), (4096,), ("f16",), device="cuda")
    fused = [msgspec.structs.replace(row, toggles={**row.toggles, "fused": "on"}) for row in plan]
    run = write_run(tmp_path / "run", [ok(row) for row in fused])
    old = write_run(tmp_path / "old", [ok(row) for row in plan[:3]])
    write_report(run, against=old)
    found = row_moves(read_run(run), read_run(old))
    assert {now.row for _, now in found} == {row.key for row in fused[:3]}
    drawing = roofline_chart.draw([now for _, now in found], CEILINGS, LIGHT, found)
    png(drawing)
    assert "before" in [text.get_text() for text in drawing.findobj(Text)]
    assert_no_overlap(drawing, "roofline.png")


def test_a_run_with_rows_shows_its_profiles_too(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [ok(row) for row in planned(contexts=(64,), kvs=("f16",))])
    (run / KERNELS).write_bytes(msgspec.json.encode(profile(5)) + b"\n")
    assert write_report(run).exit_code == 0
    assert "Where a token's time goes" in read_page((run / "report.html").read_text()).text
    assert (run / "profile.png").exists()
    (run / KERNELS).unlink()
    write_report(run)
    assert not (run / "profile.png").exists()


def test_points_are_those_that_move_and_compute() -> None:
    idle = msgspec.structs.replace(kernel_row(1, us=2.0, share=1.0), operations=0.0)
    assert [point.model for point in points(of_kernels([kernel_row(0, us=3.0, share=50.0), idle]))] == [
        "matmul_q4_k_matvec_0"
    ]


@pytest.mark.parametrize("damage", [b"{", b'{"schema": 2}\n', b'{"schema": 1, "rows": 3}\n'])
def test_a_line_that_is_no_profile_is_refused(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / KERNELS).write_bytes(damage)
    with pytest.raises(BadCall, match="not a profile of schema 1"):
        read_profiles(tmp_path)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    run = write_profile_run(tmp_path / "run", profile(3))
    with pytest.raises(BadCall, match="not a run folder"):
        write_report(run, against=tmp_path / "absent")
