"""The report of one run folder, made from its stored rows alone: the same rows give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from harness.errors import BadCall
from harness.gate.schema import SelftestScore
from harness.profile import read_profiles
from harness.schema import FOREIGN
from harness.store import PLAN, StoredRun, read_run, write_atomically
from reports import html, markdown, profile_report
from reports.charts import parity as parity_chart
from reports.charts import profile as profile_chart
from reports.charts import roofline as roofline_chart
from reports.charts import throughput as throughput_chart
from reports.charts import work as work_chart
from reports.charts.style import DARK, LIGHT, Theme, png
from reports.document import Document
from reports.frames import check_frame, row_frame
from reports.html import Drawn
from reports.peers import beside
from reports.profile import Pair, pairs
from reports.roofline import moves, points
from reports.sections import engagement, environment, overview, parity, peer, profile, roofline, throughput, work
from reports.sections import targets as targets_section
from reports.selftest import stored_score
from reports.targets import held
from reports.text import one_line
from reports.verdict import Verdict, decide

PICTURES = ("parity.png", "work.png", "throughput.png", "roofline.png")
PROFILE = "profile.png"  # only where steps were taken apart


def write_report(run_folder: Path, *, against: Path | None = None) -> Verdict:
    """Write report.md, report.html and the pictures into a run folder, each file whole or not at all.

    roofline.png and throughput.png exist only where GPU rows were timed, profile.png only where steps were taken apart.
    `against` is an earlier run folder that figures are set beside. Raises harness.errors.BadCall if a folder holds no
    run or cannot be written to.
    """
    if against is not None and not against.is_dir():
        raise BadCall(f"{against}: not a run folder to set beside {run_folder}")
    if profile_report.only_profiles(run_folder):
        found, made, verdict = profile_report.load(run_folder, against)
        page = profile_report.document(run_folder.name, found, made, verdict)
        drawn = _drawn(profile_report.PICTURES, lambda name, theme: profile_report.figure(found, made, name, theme))
    else:
        run = read_run(run_folder)
        before = read_run(against) if against is not None and (against / PLAN).exists() else None
        found = pairs(read_profiles(run_folder), profile_report.earlier(against))
        verdict = decide(run)
        page = document(run, verdict, found, selftest=stored_score(run_folder))
        names = (*pictures(run), *((PROFILE,) if found else ()))
        drawn = _drawn(names, lambda name, theme: figure(run, name, theme, before=before, profiles=found))
    for name in (*PICTURES, PROFILE):
        if name in drawn:
            write_atomically(run_folder / name, drawn[name].light)
        else:
            (run_folder / name).unlink(missing_ok=True)
    write_atomically(run_folder / "report.html", html.render(page, drawn).encode())
    write_atomically(run_folder / "report.md", markdown.render(page).encode())
    return verdict


def _drawn(names: Sequence[str], draw: Callable[[str, Theme], Figure]) -> dict[str, Drawn]:
    return {name: Drawn(light=png(draw(name, LIGHT)), dark=png(draw(name, DARK))) for name in names}


def _maker(run: StoredRun) -> str:
    foreign = {row.device == FOREIGN for row in run.plan.rows}
    return "zeroulp bench command" if foreign == {True} else "zeroulp bench-allrows"


def document(
    run: StoredRun, verdict: Verdict, profiles: Sequence[Pair] = (), *, selftest: SelftestScore | None = None
) -> Document:
    """All sections in reading order: verdict first, then what carries it."""
    rows, checks = row_frame(run), check_frame(run)
    return Document(
        title=f"{_maker(run)}, run {one_line(run.folder.name)}",
        icon=verdict.icon,
        headline=verdict.headline,
        tone=verdict.tone,
        reasons=verdict.reasons,
        sections=(
            overview.section(run, verdict, selftest),
            *((targets_section.section(held(run)),) if run.plan.targets else ()),
            parity.section(run, checks),
            throughput.section(run, rows),
            *((peer.section(run, rows),) if run.peers else ()),
            work.section(rows),
            roofline.section(run, points(run)),
            *((profile.section(profiles),) if profiles else ()),
            engagement.section(run),
            environment.section(run),
        ),
    )


def pictures(run: StoredRun) -> tuple[str, ...]:
    """The pictures that this run has."""
    return PICTURES if points(run) else PICTURES[:2]


def figure(
    run: StoredRun, name: str, theme: Theme, *, before: StoredRun | None = None, profiles: Sequence[Pair] = ()
) -> Figure:
    """One of PICTURES, or PROFILE. `before` is an earlier run, from whose points arrows lead on the roofline."""
    if name == PROFILE:
        return profile_chart.draw(profile_chart.panels(profiles), theme, subject=profile_chart.subject(profiles))
    rows = row_frame(run)
    if name == "parity.png":
        return parity_chart.draw(parity_chart.matrix(rows, check_frame(run)), theme)
    if name == "work.png":
        return work_chart.draw(work_chart.bars(rows), theme)
    if name == "throughput.png":
        return throughput_chart.draw(throughput_chart.panels(rows, beside(run)), theme)
    return roofline_chart.draw(points(run), run.environment.ceilings, theme, moves(run, before) if before else ())
