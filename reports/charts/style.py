"""What all pictures share: colours that colour-blind eyes can tell apart, sizes, and how a figure becomes a PNG."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

DOTS_PER_INCH = 110
WIDTH = 10.0  # inches
TALLEST = 50.0  # inches; charts cut their rows off before they grow taller
FONT = 9.0  # points


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours of one paper. Series colours are from the palette of Okabe and Ito."""

    paper: str
    ink: str
    soft: str
    grid: str
    good: str  # fill behind a passed check
    bad: str  # fill behind a failed one; always with a cross and words
    bad_ink: str
    unsure: str
    blank: str
    series: tuple[str, ...]


LIGHT = Theme(
    paper="#ffffff", ink="#1b1f24", soft="#5a6470", grid="#d5dae0", good="#cfe4f5", bad="#c8480c", bad_ink="#ffffff",
    unsure="#f7e3a1", blank="#eef0f2", series=("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00"),
)  # fmt: skip
DARK = Theme(
    paper="#14181d", ink="#e6e9ed", soft="#a3adb8", grid="#38414b", good="#17405f", bad="#d5601c", bad_ink="#ffffff",
    unsure="#6b5410", blank="#232a32", series=("#56b4e9", "#e69f00", "#2fc49a", "#e29cc4", "#8ecdf2", "#ff8a4c"),
)  # fmt: skip


def new_figure(theme: Theme, *, height: float) -> Figure:
    """A figure of the common width; `height` in inches, ValueError above TALLEST."""
    if not height <= TALLEST:
        raise ValueError(f"a picture of {height:.1f} inches: charts leave rows out before they pass {TALLEST:.0f}")
    layout = ConstrainedLayoutEngine(h_pad=0.12, w_pad=0.08)  # inches
    figure = Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, layout=layout, facecolor=theme.paper)
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, theme: Theme) -> None:
    """Colours and font sizes of axes, ticks and frame."""
    axes.set_facecolor(theme.paper)
    axes.tick_params(colors=theme.ink, labelsize=FONT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_color(theme.soft)
        axis.label.set_fontsize(FONT)


def headline(axes: Axes, text: str, theme: Theme, *, pad: float = 8) -> None:
    """The title of one chart, flush left; `pad` points above the axes."""
    axes.set_title(text, loc="left", color=theme.ink, fontsize=FONT + 2, pad=pad)


def bar_labels(axes: Axes, labels: Iterable[str]) -> None:
    """One label per bar at y = 0, 1, 2 ... from the top."""
    texts = list(labels)
    axes.set_yticks(range(len(texts)), labels=texts)
    axes.set_ylim(len(texts) - 0.4, -0.6)


def legend_above(axes: Axes, theme: Theme, *, columns: int) -> None:
    """A legend in one line above the right end, beside the title."""
    axes.legend(
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=columns,
        fontsize=FONT - 1,
        frameon=False,
        labelcolor=theme.ink,
        borderaxespad=0.2,
    )


def png(figure: Figure) -> bytes:
    """The figure as a PNG without date or program version: same rows, same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor=figure.get_facecolor(), metadata={"Software": None})
    return buffer.getvalue()
