"""The report of one run folder, made from its stored rows alone: the same rows give the same bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from harness.store import StoredRun, read_run, write_atomically
from reports import html, markdown
from reports.charts import parity as parity_chart
from reports.charts import roofline as roofline_chart
from reports.charts import throughput as throughput_chart
from reports.charts import work as work_chart
from reports.charts.style import DARK, LIGHT, Theme, png
from reports.document import Document
from reports.frames import check_frame, row_frame
from reports.html import Drawn
from reports.roofline import points
from reports.sections import engagement, environment, overview, parity, roofline, throughput, work
from reports.text import one_line
from reports.verdict import Verdict, decide

PICTURES = ("parity.png", "work.png", "throughput.png", "roofline.png")


def write_report(run_folder: Path) -> Verdict:
    """Write report.md, report.html and the pictures into a run folder, each file whole or not at all.

    roofline.png and throughput.png exist only where GPU rows were timed. Raises harness.errors.BadCall if the folder
    holds no run or cannot be written to.
    """
    run = read_run(run_folder)
    verdict = decide(run)
    page = document(run, verdict)
    drawn = {
        name: Drawn(light=png(figure(run, name, LIGHT)), dark=png(figure(run, name, DARK))) for name in pictures(run)
    }
    for name in PICTURES:
        if name in drawn:
            write_atomically(run_folder / name, drawn[name].light)
        else:
            (run_folder / name).unlink(missing_ok=True)
    write_atomically(run_folder / "report.html", html.render(page, drawn).encode())
    write_atomically(run_folder / "report.md", markdown.render(page).encode())
    return verdict


def document(run: StoredRun, verdict: Verdict) -> Document:
    """All sections in reading order: verdict first, then what carries it."""
    rows, checks = row_frame(run), check_frame(run)
    return Document(
        title=f"zeroulp bench-allrows, run {one_line(run.folder.name)}",
        icon=verdict.icon,
        headline=verdict.headline,
        tone=verdict.tone,
        reasons=verdict.reasons,
        sections=(
            overview.section(run, verdict),
            parity.section(run, checks),
            throughput.section(run, rows),
            work.section(rows),
            roofline.section(run, points(run)),
            engagement.section(run),
            environment.section(run),
        ),
    )


def pictures(run: StoredRun) -> tuple[str, ...]:
    """The pictures that this run has."""
    return PICTURES if points(run) else PICTURES[:2]


def figure(run: StoredRun, name: str, theme: Theme) -> Figure:
    """One of PICTURES."""
    rows = row_frame(run)
    if name == "parity.png":
        return parity_chart.draw(parity_chart.matrix(rows, check_frame(run)), theme)
    if name == "work.png":
        return work_chart.draw(work_chart.bars(rows), theme)
    if name == "throughput.png":
        return throughput_chart.draw(throughput_chart.panels(rows), theme)
    return roofline_chart.draw(points(run), run.environment.ceilings, theme)
