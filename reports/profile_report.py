"""The report of a run folder that holds profiles of steps and no rows, made from what is stored alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from harness.profile import KERNELS, Profile, read_profiles
from harness.schema import Environment
from harness.store import PLAN, read_environment
from reports.charts import profile as profile_chart
from reports.charts import roofline as roofline_chart
from reports.charts.style import Theme
from reports.document import Block, Document, Paragraph, Picture, Section
from reports.profile import Pair, decide, moves, pairs, points
from reports.reproduce import typed
from reports.sections import profile as profile_section
from reports.sections.environment import machine
from reports.sections.roofline import ceilings_table
from reports.text import one_line
from reports.verdict import Verdict

PICTURES = ("profile.png", "roofline.png")


def only_profiles(folder: Path) -> bool:
    """Whether a run folder is one of `zeroulp bench kernels`: profiles, and no plan of rows."""
    return (folder / KERNELS).exists() and not (folder / PLAN).exists()


def earlier(folder: Path | None) -> tuple[Profile, ...]:
    """The profiles of another run folder; none where it has none."""
    return () if folder is None else read_profiles(folder)


def document(name: str, found: Sequence[Pair], environment: Environment, verdict: Verdict) -> Document:
    return Document(
        title=f"zeroulp bench kernels, run {one_line(name)}",
        icon=verdict.icon,
        headline=verdict.headline,
        tone=verdict.tone,
        reasons=verdict.reasons,
        sections=(profile_section.section(found), _roofline(environment), _environment(found, environment)),
    )


def figure(found: Sequence[Pair], environment: Environment, name: str, theme: Theme) -> Figure:
    """One of PICTURES."""
    if name == "profile.png":
        return profile_chart.draw(profile_chart.panels(found), theme, subject=profile_chart.subject(found))
    drawn = [point for pair in found for point in points(pair.now)]
    arrows = [move for pair in found for move in moves(pair)]
    return roofline_chart.draw(drawn, environment.ceilings, theme, arrows)


def load(folder: Path, against: Path | None) -> tuple[tuple[Pair, ...], Environment, Verdict]:
    """What the report is made from. Raises BadCall for a folder that is none."""
    environment = read_environment(folder)
    profiles = read_profiles(folder)
    return pairs(profiles, earlier(against)), environment, decide(profiles, environment.ceilings)


def _roofline(environment: Environment) -> Section:
    alt = "Operations per second against operations per byte of each kernel, with the measured ceilings"
    blocks: list[Block] = [ceilings_table(environment.ceilings)] if environment.ceilings else []
    return Section(title="Roofline", blocks=(*blocks, Picture(file="roofline.png", alt=alt)))


def _environment(found: Sequence[Pair], environment: Environment) -> Section:
    started = found[0].now.started if found else ""
    toggles = found[0].now.toggles if found else {}
    text = ", ".join(f"{one_line(name)} {one_line(value)}" for name, value in toggles.items())
    blocks = (
        Paragraph(text="To make this run again:"),
        typed(environment.command),
        Paragraph(text=f"Toggles: {text}."),
        machine(environment, started),
    )
    return Section(title="Environment and reproduction", blocks=blocks)
