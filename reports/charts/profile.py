"""profile.png: where the time of a step goes, a bar for each kernel and shape, and one for the gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.words import plural
from reports.charts.style import FONT, WIDTH, Theme, bar_labels, dress, headline, legend_above, new_figure
from reports.profile import GAPS, Bar, Pair, bars, model_name, title
from reports.text import label
from reports.units import percent

MOST_BARS = 40  # of one panel; the shortest are added up into one
BAR_INCHES, PANEL_INCHES = 0.27, 1.1
LABEL = 30  # characters of a kernel, and of what it works on
LETTER = 0.07  # inches, at most, of a letter on average


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The bars of one step, the longest first, gaps last. `whole` is the time of the step."""

    title: str
    bars: tuple[Bar, ...]
    whole: float


def panels(found: Sequence[Pair]) -> tuple[Panel, ...]:
    """A panel for each step. A step in more than MOST_BARS parts has its shortest kernels in one bar."""
    return tuple(_panel(pair) for pair in found)


def _panel(pair: Pair) -> Panel:
    step = title(pair.now).removeprefix(f"{model_name(pair.now)}, ")
    return Panel(title=label(step, longest=80), bars=_shown(bars(pair)), whole=pair.now.step_us.median)


def draw(chosen: Sequence[Panel], theme: Theme, *, subject: str = "") -> Figure:
    """The picture of all panels, one below the other. `subject` is the model that they are of."""
    heights = [PANEL_INCHES + BAR_INCHES * len(panel.bars) for panel in chosen]
    figure = new_figure(theme, height=0.6 + sum(heights))
    text = "Where the time of a step goes" + (f" · {label(subject, longest=80)}" if subject else "")
    figure.suptitle(text, x=0.01, ha="left", color=theme.ink, fontsize=FONT + 3)
    all_axes = figure.subplots(len(heights), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(all_axes[:, 0], chosen, strict=True):
        _bars(axes, panel, theme)
    return figure


def subject(found: Sequence[Pair]) -> str:
    """The models of the steps."""
    return ", ".join(dict.fromkeys(model_name(pair.now) for pair in found))


def _shown(found: Sequence[Bar]) -> tuple[Bar, ...]:
    *kernels, gaps = found
    rest = kernels[MOST_BARS - 2 :]
    if len(rest) < 2:
        return tuple(found)
    known = [bar.before_us for bar in rest if bar.before_us is not None]
    summed = replace(
        gaps,
        kernel=plural(len(rest), "shorter one"),
        what="all are in the table",
        us=sum(bar.us for bar in rest),
        before_us=sum(known) if known else None,
    )
    return (*kernels[: MOST_BARS - 2], summed, gaps)


def _bars(axes: Axes, panel: Panel, theme: Theme) -> None:
    """What the ceiling asks for is filled, what a kernel takes above it is pale, gaps are hatched."""
    dress(axes, theme)
    compared = any(bar.before_us is not None for bar in panel.bars)
    thick, lift = (0.5, 0.13) if compared else (0.7, 0.0)
    places = [place - lift for place in range(len(panel.bars))]
    ideal = [min(bar.ideal_us, bar.us) for bar in panel.bars]
    above = [0.0 if bar.kernel == GAPS else bar.us - part for bar, part in zip(panel.bars, ideal, strict=True)]
    gaps = [max(0.0, bar.us) if bar.kernel == GAPS else 0.0 for bar in panel.bars]
    blue, orange = theme.series[0], theme.series[1]
    axes.barh(places, ideal, height=thick, color=blue, label="asked for by the ceiling")
    axes.barh(
        places, above, left=ideal, height=thick, color=theme.good, edgecolor=blue, linewidth=0.6, label="above it"
    )
    axes.barh(places, gaps, height=thick, color=orange, edgecolor=theme.paper, hatch="///", label="gaps")
    if compared:
        below = [place + 0.27 for place in range(len(panel.bars))]
        was = [max(0.0, bar.before_us or 0.0) for bar in panel.bars]
        axes.barh(below, was, height=0.16, color=theme.soft, label="before")
    names = [f"{label(bar.kernel, longest=LABEL)}  {label(bar.what, longest=LABEL)}".rstrip() for bar in panel.bars]
    words = [_words(bar, panel.whole) for bar in panel.bars]
    longest = max(max(bar.us, bar.before_us or 0.0) for bar in panel.bars)
    axes.set_xlim(0, (longest or 1.0) / _share(names, words))
    for place, bar, text in zip(places, panel.bars, words, strict=True):
        axes.annotate(
            text,
            (max(0.0, bar.us, bar.before_us or 0.0), place + lift),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=FONT - 1,
            color=theme.ink,
        )
    bar_labels(axes, names)
    axes.set_xticks([], minor=False)
    headline(axes, panel.title, theme, pad=24)
    legend_above(axes, theme, columns=4)


def _share(names: Sequence[str], words: Sequence[str]) -> float:
    """The share of the axes that the longest bar may take, so that there is room for the words behind it."""
    axes = WIDTH - LETTER * max(map(len, names)) - 0.3
    return 1 - (LETTER * max(map(len, words)) + 0.1) / axes


def _words(bar: Bar, whole: float) -> str:
    text = f"{bar.us:,.1f} us, {percent(100 * bar.us / whole)}"
    if bar.percent is not None and bar.percent >= 1:
        text += f", {bar.percent:.0f} % of {bar.roof}"
    return text if bar.before_us is None else f"{text}, was {bar.before_us:,.1f}"
