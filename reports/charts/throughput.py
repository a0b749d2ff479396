"""throughput.png: measured tokens per second, median and range, by toggle. Drawn from GPU rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.words import plural
from reports.charts.style import FONT, TALLEST, Theme, bar_labels, dress, headline, legend_above, new_figure
from reports.frames import common, describe, naming
from reports.peers import Beside
from reports.text import label
from reports.units import count, short

MOST_BARS = 48  # of one panel
BAR_INCHES, PANEL_INCHES = 0.22, 0.95
KINDS = (("decode_tps", "Decode"), ("prefill_tps", "Prefill"))


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars in tokens per second: median, least and most over the repeats. `graph_on[i]` chooses the fill."""

    title: str
    labels: tuple[str, ...]
    medians: tuple[float, ...]
    least: tuple[float, ...]
    most: tuple[float, ...]
    graph_on: tuple[bool, ...]
    peers: tuple[tuple[int, float], ...]  # bar, median of the peer beside it
    note: str


def panels(rows: pd.DataFrame, pairs: Sequence[Beside] = ()) -> tuple[Panel, ...]:
    """A panel for every model and phase that was timed: speeds of unlike models would not fit on one scale.

    Of `pairs` those are drawn that can be compared.
    """
    found = [
        _panel(timed, f"{phase} · {label(common(timed), longest=36)}", kind, pairs)
        for model, mine in rows.groupby("model", sort=False)
        for kind, phase in KINDS
        if len(timed := mine[mine[f"{kind}_median"].notna()])
    ]
    kept = [found[at] for at in range(len(found)) if sum(_height(panel) for panel in found[: at + 1]) <= TALLEST]
    if len(kept) < len(found):
        more = f"; {plural(len(found) - len(kept), 'more chart')} not drawn"
        kept[-1] = replace(kept[-1], note=kept[-1].note + more)
    return tuple(kept)


def draw(chosen: tuple[Panel, ...], theme: Theme) -> Figure:
    """The picture of the panels, one below the other."""
    heights = [_height(panel) for panel in chosen]
    figure = new_figure(theme, height=sum(heights))
    all_axes = figure.subplots(len(chosen), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(all_axes[:, 0], chosen, strict=True):
        _bars(axes, panel, theme)
    return figure


def _height(panel: Panel) -> float:
    return PANEL_INCHES + BAR_INCHES * len(panel.labels)


def _panel(rows: pd.DataFrame, title: str, kind: str, pairs: Sequence[Beside]) -> Panel:
    columns = [name for name in naming(rows) if name != "model"]
    note = ""
    if len(rows) > MOST_BARS:
        note = f"; {plural(len(rows) - MOST_BARS, 'more row')} not drawn, all are in the table"
        rows = rows.head(MOST_BARS)
    places = {row: place for place, row in enumerate(rows["id"])}
    mine = [pair for pair in pairs if pair.row.id in places and kind == f"{pair.phase}_tps" and not pair.why_not]
    graph = rows["toggle graph"] == "on" if "toggle graph" in rows.columns else [False] * len(rows)
    return Panel(
        title=title,
        labels=tuple(label(describe(row, columns), longest=64) for _, row in rows.iterrows()),
        medians=tuple(rows[f"{kind}_median"]),
        least=tuple(rows[f"{kind}_min"]),
        most=tuple(rows[f"{kind}_max"]),
        graph_on=tuple(bool(on) for on in graph),
        peers=tuple((places[pair.row.id], pair.theirs.median) for pair in mine),
        note=note,
    )


def _bars(axes: Axes, panel: Panel, theme: Theme) -> None:
    dress(axes, theme)
    axes.grid(axis="x", color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    for wanted, name in ((True, "graph on"), (False, "graph off")):
        places = [place for place, on in enumerate(panel.graph_on) if on is wanted]
        if places:
            _series(axes, panel, places, name, theme)
    bar_labels(axes, panel.labels)
    if panel.peers:
        at, speeds = zip(*panel.peers, strict=True)
        axes.scatter(
            speeds, at, marker="D", s=28, color=theme.series[2], edgecolor=theme.paper, linewidth=0.8, zorder=3,
            label="peer",
        )  # fmt: skip
    axes.set_xlim(0, max((*panel.most, *(speed for _, speed in panel.peers))) * 1.1)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value) if value < 1e5 else short(value)))
    headline(axes, panel.title, theme)
    axes.set_xlabel(f"tokens/s: median, least and most over the repeats{panel.note}", loc="left")
    if len(set(panel.graph_on)) > 1 or panel.peers:
        legend_above(axes, theme, columns=3)


def _series(axes: Axes, panel: Panel, places: list[int], name: str, theme: Theme) -> None:
    """The bars at some places, with whiskers and the median in figures."""
    medians = [panel.medians[place] for place in places]
    axes.barh(
        places,
        medians,
        height=0.72,
        color=theme.series[0 if name == "graph on" else 1],
        edgecolor=theme.paper,
        hatch="" if name == "graph on" else "///",
        label=name,
        xerr=(
            [panel.medians[place] - panel.least[place] for place in places],
            [panel.most[place] - panel.medians[place] for place in places],
        ),
        error_kw={"ecolor": theme.ink, "elinewidth": 1.2, "capsize": 3},
    )
    gap = max(panel.most) * 0.01
    for place, median in zip(places, medians, strict=True):
        text = count(round(median, 1 if median < 100 else 0))
        axes.text(panel.most[place] + gap, place, text, va="center", fontsize=FONT - 1, color=theme.ink, zorder=4)
