"""roofline.png: measured ceilings, and decode and prefill of the GPU rows below them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.schema import Ceiling
from reports.charts.style import FONT, Theme, dress, headline, new_figure
from reports.roofline import READ, Point, per_second
from reports.text import label
from reports.units import percent, plain

MOST_LABELS = 12  # of one phase
HEIGHT = 6.6  # inches
LABEL_HEIGHT, LETTER_WIDTH = 0.031, 0.0076  # of the axes
LABEL_SHARE = 0.36  # of the width that the longest label may take right of the last point
TERA = 1e12


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle of the axes that something covers already, in shares of their size."""

    left: float
    right: float
    bottom: float
    top: float

    def meets(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )


def draw(
    points: Sequence[Point],
    ceilings: Sequence[Ceiling],
    theme: Theme,
    moves: Sequence[tuple[Point, Point]] = (),
) -> Figure:
    """The picture. The best point of each model, weight type and phase has a label; the others are dots.

    `moves` are points of an earlier run with where they are now: an arrow each, from a hollow mark.
    """
    figure = new_figure(theme, height=HEIGHT)
    axes = figure.add_subplot()
    dress(axes, theme)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(which="major", color=theme.grid, linewidth=0.6)
    axes.set_axisbelow(True)
    left, right = _limits(axes, [*points, *(before for before, _ in moves)], ceilings)
    taken = _roofs(axes, ceilings, left, right, theme)
    _arrows(axes, moves, theme)
    for at, (phase, marker) in enumerate((("decode", "o"), ("prefill", "^"))):
        mine = [point for point in points if point.phase == phase]
        if mine:
            axes.scatter(
                [p.intensity for p in mine], [p.rate / TERA for p in mine], marker=marker, s=42, color=theme.series[at],
                edgecolors=theme.ink, linewidths=0.6, label=phase, zorder=3,
            )  # fmt: skip
            taken.extend(_marks(axes, mine))
    for phase in ("prefill", "decode"):
        _labels(axes, best([point for point in points if point.phase == phase]), taken, theme)
    known = "ceilings measured on this machine" if ceilings else "no ceiling was measured"
    headline(axes, f"Roofline: {known}", theme)
    axes.set_xlabel("intensity, operations per byte of memory traffic")
    axes.set_ylabel("TOP/s, 10¹² operations per second")
    axes.legend(loc="lower right", fontsize=FONT, frameon=False, labelcolor=theme.ink)
    return figure


def _arrows(axes: Axes, moves: Sequence[tuple[Point, Point]], theme: Theme) -> None:
    for before, now in moves:
        axes.annotate(
            "",
            (now.intensity, now.rate / TERA),
            xytext=(before.intensity, before.rate / TERA),
            arrowprops={"arrowstyle": "-|>", "color": theme.series[5], "linewidth": 1.1, "shrinkA": 3, "shrinkB": 4},
        )
    if moves:
        axes.scatter(
            [before.intensity for before, _ in moves], [before.rate / TERA for before, _ in moves], s=30,
            facecolors="none", edgecolors=theme.series[5], linewidths=0.9, label="before", zorder=2,
        )  # fmt: skip


def best(points: Sequence[Point]) -> list[Point]:
    """The fastest point of each model and weight type, fastest first, as many as can be labelled."""
    found: dict[tuple[str, str], Point] = {}
    for point in sorted(points, key=lambda point: (-point.rate, point.row)):
        found.setdefault((point.model, point.quant), point)
    return list(found.values())[:MOST_LABELS]


def _limits(axes: Axes, points: Sequence[Point], ceilings: Sequence[Ceiling]) -> tuple[float, float]:
    """Set the limits: all points and the ridge are inside, with room for labels. Returns the horizontal ones."""
    values = {ceiling.name: value for ceiling in ceilings if (value := per_second(ceiling))}
    compute = [value for ceiling in ceilings if "OP/s" in ceiling.unit and (value := per_second(ceiling))]
    across = [point.intensity for point in points]
    if compute and values.get(READ):
        across.append(max(compute) / values[READ])
    up = [point.rate / TERA for point in points] + [value / TERA for value in compute]
    left = min(across, default=1.0) / 4
    right = left * (max(across, default=1.0) / left) ** (1 / (1 - LABEL_SHARE))
    axes.set_xlim(left, right)
    axes.set_ylim(min(up, default=1.0) / 6, max(up, default=1.0) * 2.5)
    return left, right


def _roofs(axes: Axes, ceilings: Sequence[Ceiling], left: float, right: float, theme: Theme) -> list[Box]:
    """Every bandwidth is a slope, every compute rate a level; both end where the highest level meets the slope.

    Returns where the names of the levels stand, which no other text may cover.
    """
    names: list[Box] = []
    levels = [(c, value / TERA) for c in ceilings if "OP/s" in c.unit and (value := per_second(c))]
    slopes = [
        (c, value / TERA) for c in ceilings if c.unit.endswith("B/s") and c.name == READ and (value := per_second(c))
    ]
    top = max((level for _, level in levels), default=None)
    for ceiling, slope in slopes:
        end = right if top is None else min(right, top / slope)
        axes.plot([left, end], [slope * left, slope * end], color=theme.ink, linewidth=1.4)
        middle = left * (end / left) ** 0.6
        axes.annotate(
            _name(ceiling),
            (middle, slope * middle),
            xytext=(-6, 8),
            textcoords="offset points",
            ha="right",
            fontsize=FONT,
            color=theme.ink,
        )
    for ceiling, level in levels:
        start = min((level / slope for _, slope in slopes), default=left)
        axes.plot([max(left, start), right], [level, level], color=theme.ink, linewidth=1.4, linestyle="--")
        axes.annotate(
            _name(ceiling),
            (right, level),
            xytext=(-4, 4),
            textcoords="offset points",
            ha="right",
            fontsize=FONT,
            color=theme.ink,
        )
        _, up = (axes.transData + axes.transAxes.inverted()).transform((right, level))
        width = 1.15 * LETTER_WIDTH * len(_name(ceiling))
        names.append(_box(1 - width, float(up) + LABEL_HEIGHT / 2, width))
    return names


def _name(ceiling: Ceiling) -> str:
    return f"{label(ceiling.name, longest=20)} {plain(ceiling.median)} {label(ceiling.unit, longest=12)}"


def _marks(axes: Axes, points: Sequence[Point]) -> list[Box]:
    return [_box(*_place(axes, point), 0.0) for point in points]


def _place(axes: Axes, point: Point) -> tuple[float, float]:
    """Where a point is, in shares of the axes."""
    across, up = (axes.transData + axes.transAxes.inverted()).transform((point.intensity, point.rate / TERA))
    return float(across), float(up)


def _box(left: float, middle: float, width: float) -> Box:
    half = LABEL_HEIGHT / 2 if width else LABEL_HEIGHT / 3
    return Box(left=left - half / 2, right=left + width + half / 2, bottom=middle - half, top=middle + half)


def _labels(axes: Axes, chosen: Sequence[Point], taken: list[Box], theme: Theme) -> None:
    """A name to the right of each point, pushed down until it covers nothing, with a line back to the point."""
    for point in chosen:
        share = f"{percent(point.percent)} of {point.roof}" if point.roof else "no ceiling measured"
        name = point.title and label(point.title, longest=32)
        text = f"{name or label(point.model, longest=22) + ' ' + label(point.quant, longest=10)}: {share}"
        across, up = _place(axes, point)
        box = _box(across + 0.03, up, LETTER_WIDTH * len(text))
        while any(box.meets(other) for other in taken) and box.bottom > 0:
            up -= LABEL_HEIGHT / 2
            box = _box(across + 0.03, up, LETTER_WIDTH * len(text))
        if box.bottom <= 0:
            continue  # no place for it is left; the table has all
        taken.append(box)
        axes.annotate(
            text,
            (point.intensity, point.rate / TERA),
            xytext=(across + 0.03, up),
            textcoords="axes fraction",
            va="center",
            fontsize=FONT - 1,
            color=theme.ink,
            bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 0.6},
            arrowprops={"arrowstyle": "-", "color": theme.soft, "linewidth": 0.7, "relpos": (0.0, 0.5)},
        )
