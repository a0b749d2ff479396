"""The pictures: readable size, not blank, no text over another text, for few rows and for many."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from harness.schema import Row
from harness.store import StoredRun, read_run
from reports.charts.style import DARK, LIGHT, png
from reports.run_report import PICTURES, figure, pictures
from suites.reports.stored_runs import bad, differing, ok, planned, write_run

GPU_QUANTS = ("Q8_0", "Q4_0", "Q4_K_M", "Q5_K", "F16", "F32")


def many_on_gpu() -> list[Row]:
    tiny = planned(("qwen3-tiny",), GPU_QUANTS, (64, 320, 1024), device="cuda")
    large = planned(("qwen3-0.6b", "qwen3-8b"), ("Q8_0", "Q4_K_M"), (4096,), ("f16",), device="cuda")
    return [ok(row) for row in (*tiny, *(msgspec.structs.replace(row, id="l" + row.id) for row in large))]


def mixed() -> list[Row]:
    rows = [ok(row) for row in planned()]
    rows[5] = ok(planned()[5], proof=(differing("graph = direct", "before", values=12_345),))
    rows[20:22] = [bad(row, "out_of_memory", "too big") for row in planned()[20:22]]
    return rows


def long_names() -> list[Row]:
    name = "some/very long $name$ of a \u6f22 model file with no end to it whatsoever-00001-of-00009"
    plan = planned(("a" + name, "b" + name), ("Q4_K_M",), device="cuda")
    return [ok(row, proof=tuple(msgspec.structs.replace(c, name=name + c.name) for c in ok(row).proof)) for row in plan]


def many_checks() -> list[Row]:
    plan = planned(("some-model-with-a-name", "another-model-with-a-name"), ("Q4_K_M", "Q8_0"))
    names = [f"the {number}. way = the other way" for number in range(7)]
    rows = [ok(row, proof=tuple(differing(name, "after", values=12_345) for name in names)) for row in plan]
    rows[0:2] = [bad(row, "out_of_memory", "too big") for row in plan[0:2]]
    rows[9] = bad(plan[9], "not_applicable", "no such device")
    return rows


RUNS = {
    "many checks": many_checks(),
    "one": [ok(planned()[0])],
    "four": [ok(row) for row in planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))],
    "forty-eight": [ok(row) for row in planned()],
    "mixed": mixed(),
    "two hundred on a GPU": many_on_gpu(),
    "one model on a GPU": [ok(row) for row in planned(("qwen3-8b",), ("Q4_K_M",), (4096,), ("f16",), device="cuda")],
    "long names": long_names(),
    "empty": [],
}


def stored(folder: Path, name: str) -> StoredRun:
    return read_run(write_run(folder / "run", RUNS[name]))


@pytest.mark.parametrize("name", RUNS)
def test_readable(name: str, tmp_path: Path) -> None:
    run = stored(tmp_path, name)
    expected = PICTURES if any(row.device == "cuda" for row in RUNS[name]) else PICTURES[:2]
    assert pictures(run) == expected
    for file in expected:
        drawing = figure(run, file, LIGHT)
        data = png(drawing)
        pixels = imread(io.BytesIO(data))
        height, width = pixels.shape[:2]
        assert width == 1100
        assert 100 <= height <= 5500
        assert len(data) < 2_000_000
        assert len({bytes(pixel) for pixel in pixels[::5, ::5].reshape(-1, pixels.shape[2])}) > 10
        assert_no_overlap(drawing, file)


def test_dark_paper_has_light_ink(tmp_path: Path) -> None:
    run = stored(tmp_path, "one model on a GPU")
    for file in pictures(run):
        pixels = imread(io.BytesIO(png(figure(run, file, DARK))))[..., :3]
        assert np.median(pixels) < 0.2
        assert pixels.max() > 0.8
        texts = [text for text in figure(run, file, DARK).findobj(Text) if text.get_text() and text.get_visible()]
        assert not [text.get_text() for text in texts if to_hex(text.get_color()) == "#000000"]


def assert_no_overlap(drawing: Figure, file: str) -> None:
    """No two visible texts share more than a pixel, and none leaves the picture."""
    renderer = drawing.canvas.get_renderer()  # type: ignore[attr-defined]  # Agg canvases have one
    hidden = out_of_sight(drawing)
    boxes = [
        (text.get_text(), Text.get_window_extent(text, renderer))
        for text in drawing.findobj(Text)
        if text.get_text().strip() and text.get_visible() and id(text) not in hidden
    ]
    edge = drawing.bbox
    for text, box in boxes:
        assert box.x0 >= -1, (file, text)
        assert box.x1 <= edge.x1 + 1, (file, text)
        assert box.y0 >= -1, (file, text)
        assert box.y1 <= edge.y1 + 1, (file, text)
    corners = np.array([[box.x0 + 1, box.x1 - 1, box.y0 + 1, box.y1 - 1] for _, box in boxes])
    x0, x1, y0, y1 = corners.T
    meets = (x0[:, None] < x1) & (x0 < x1[:, None]) & (y0[:, None] < y1) & (y0 < y1[:, None])
    first, second = np.nonzero(np.triu(meets, 1))
    assert not [(boxes[i][0], boxes[j][0]) for i, j in zip(first, second, strict=True)], file


def out_of_sight(drawing: Figure) -> set[int]:
    """Tick labels beyond the limits of their axis: matplotlib keeps them but never draws them."""
    axes = [axis for axes in drawing.axes for axis in (axes.xaxis, axes.yaxis)]
    return {
        id(text)
        for axis in axes
        for tick in (*axis.majorTicks, *axis.minorTicks)
        for text in (tick.label1, tick.label2)
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }
