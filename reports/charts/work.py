"""work.png: launches, bytes and operations per token, one bar for every setting that changes the figure."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.words import plural
from reports.charts.style import FONT, Theme, bar_labels, dress, headline, legend_above, new_figure
from reports.frames import common, configuration_columns, deciding, describe, varying
from reports.text import label
from reports.units import count, short

MOST_BARS = 24  # of one panel
LARGEST_RATIO = 100  # of two bars on a linear scale; above it the small ones vanish
BAR_INCHES, PANEL_INCHES = 0.24, 1.0

COLUMNS = {
    "launches_per_token": "launched by the CPU",
    "graph_kernels_per_token": "run by graph replays",
    "prefill_launches_per_token": "launched by the CPU",
    "bytes_per_token": "bytes",
    "operations_per_token": "operations",
    "prefill_bytes_per_token": "bytes",
    "prefill_operations_per_token": "operations",
}
PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Decode: kernels per token", "", ("launches_per_token", "graph_kernels_per_token")),
    ("Decode: memory traffic per token", "B", ("bytes_per_token",)),
    ("Decode: operations per token", "OP", ("operations_per_token",)),
    ("Prefill: kernels per token", "", ("prefill_launches_per_token",)),
    ("Prefill: memory traffic per token", "B", ("prefill_bytes_per_token",)),
    ("Prefill: operations per token", "OP", ("prefill_operations_per_token",)),
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Bars of one figure. `values[series][bar]`; `same` names what does not change them."""

    title: str
    unit: str
    labels: tuple[str, ...]
    series: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    same: str
    logarithmic: bool


@dataclass(frozen=True, kw_only=True)
class Bars:
    """All panels, and what every row has in common."""

    subject: str
    panels: tuple[Panel, ...]


def bars(rows: pd.DataFrame) -> Bars:
    """One panel per figure, over the rows that have it. Rows that a setting does not change share a bar."""
    made = rows[rows[list(COLUMNS)].notna().any(axis=1)]
    known = ((panel, made[made[list(panel[2])].notna().all(axis=1)]) for panel in PANELS)
    drawn = tuple(_panel(having, *panel) for panel, having in known if len(having))
    return Bars(subject=label(common(made), longest=80), panels=drawn)


def draw(chosen: Bars, theme: Theme) -> Figure:
    """The picture of all panels, one below the other; a line of words if there are none."""
    heights = [PANEL_INCHES + BAR_INCHES * len(panel.labels) * len(panel.series) for panel in chosen.panels]
    figure = new_figure(theme, height=1.0 + sum(heights))
    if not chosen.panels:
        figure.text(0.5, 0.5, "No row of this run has figures.", ha="center", color=theme.ink, fontsize=FONT + 2)
        return figure
    title = f"Work per token · {chosen.subject}" if chosen.subject else "Work per token"
    figure.suptitle(title, x=0.01, ha="left", color=theme.ink, fontsize=FONT + 3)
    all_axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(all_axes[:, 0], chosen.panels, strict=True):
        _bars(axes, panel, theme)
    return figure


def _panel(made: pd.DataFrame, title: str, unit: str, metrics: tuple[str, ...]) -> Panel:
    columns = varying(made, configuration_columns(made))
    kept = deciding(made, columns, metrics)
    bars = made.drop_duplicates([*kept, *metrics])
    dropped = [name.removeprefix("toggle ") for name in columns if name not in kept]
    notes = [f"the same for every {', '.join(dropped)}"] if dropped else []
    if len(bars) > MOST_BARS:
        notes.append(f"{plural(len(bars) - MOST_BARS, 'more bar')} not drawn, all are in the table")
        bars = bars.head(MOST_BARS)
    figures = bars[list(metrics)].to_numpy(dtype=float)
    logarithmic = bool(figures.min() > 0 and figures.max() > LARGEST_RATIO * figures.min())
    if logarithmic:
        notes.append("logarithmic scale")
    return Panel(
        title=title,
        unit=unit,
        labels=tuple(label(describe(bar, kept) or "every row", longest=60) for _, bar in bars.iterrows()),
        series=tuple(COLUMNS[name] for name in metrics),
        values=tuple(tuple(float(value) for value in bars[name]) for name in metrics),
        logarithmic=logarithmic,
        same="; ".join(label(note, longest=110) for note in notes),
    )


def _bars(axes: Axes, panel: Panel, theme: Theme) -> None:
    dress(axes, theme)
    number = len(panel.series)
    thick = 0.8 / number
    every = [value for values in panel.values for value in values]
    smallest, largest = min(every), max(every)
    if panel.logarithmic:
        axes.set_xscale("log")
        axes.set_xlim(smallest / 2, largest * (largest / smallest * 2) ** 0.14)
    else:
        axes.set_xlim(0, largest * 1.14 or 1.0)
    for at, (name, values) in enumerate(zip(panel.series, panel.values, strict=True)):
        places = [bar - 0.4 + thick * (at + 0.5) for bar in range(len(values))]
        axes.barh(
            places,
            values,
            height=thick * 0.9,
            color=theme.series[at],
            edgecolor=theme.paper,
            hatch=("", "///")[at % 2],
            label=name,
        )
        for place, value in zip(places, values, strict=True):
            text = short(value, panel.unit) if panel.unit else count(value)
            axes.annotate(
                text,
                (value, place),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=FONT - 1,
                color=theme.ink,
            )
    bar_labels(axes, panel.labels)
    axes.set_xticks([], minor=False)
    axes.set_xticks([], minor=True)
    headline(axes, panel.title, theme)
    axes.set_xlabel(panel.same, loc="left")
    if number > 1:
        legend_above(axes, theme, columns=number)
