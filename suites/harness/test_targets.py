"""Targets: read with faults that name their line, planned onto rows, judged by the right end of the scale."""

from __future__ import annotations

import math
from pathlib import Path

import msgspec
import pytest

import harness.config
from harness.cli.main import zeroulp
from harness.config import ROW_FIELDS, Config, parse_config, read_text
from harness.errors import BadCall
from harness.matrix import expand
from harness.schema import Row, Spread, Target
from harness.targets import FIGURES, Judged, judge, planned
from harness.where import parse_where
from suites.harness.records import planned as planned_row
from suites.harness.records import row

MATRIX = """\
schema = 1
[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0"]
shapes = [{ prompt = 4, generated = 4, context = 16 }, { prompt = 8, generated = 4, context = 16, verify = 2 }]

[[target]]
name = "short"
where = "prompt == 4"
figure = "decode_tps"
must = 100
aim = 120.5

[[target]]
name = "two at once"
where = "verify == 2"
figure = "verify_ratio"
must = 1.5
"""
PATH = Path("folder/mine.toml")
SHIPPED = Path(harness.config.__file__).with_name("targets.toml")


def config(text: str = MATRIX) -> Config:
    return parse_config(text, PATH)


def test_targets_are_read() -> None:
    short, two = config().targets
    assert (short.name, short.where, short.figure, short.must, short.aim) == (
        "short", "prompt == 4", "decode_tps", 100.0, 120.5,
    )  # fmt: skip
    assert (two.must, two.aim) == (1.5, None)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ('figure = "decode_tps"', 'figure = "decode"', 10, "figure: 'decode' is not one of decode_tps, "),
        ('where = "prompt == 4"', 'where = "promt == 4"', 9, "where: unknown field 'promt'"),
        ("must = 100", "must = 0", 11, "must: 0 is not a number above zero"),
        ("must = 100", "must = nan", 11, "must: nan is not a number above zero"),
        ("must = 100\n", "", 7, "must: missing"),
        ("must = 1.5", 'must = "1.5"', 18, "must: '1.5' is not a number"),
        ("aim = 120.5", "aim = 99", 12, "aim: 99 is easier than what must be reached, 100 tokens/s"),
        ("must = 1.5", "must = 1.5\naim = 1.6", 19, "aim: 1.6 is easier than what must be reached, 1.5 x"),
        ('name = "two at once"', "name = 3", 15, "name: 3 is not a text"),
        ("must = 1.5", "must = 1.5\nmost = 2", 19, "most: unknown key"),
        ("verify = 2 }", "verify = 5 }", 5, "shapes.verify: 5 is more than the 4 generated tokens"),
        ("verify = 2 }", "verify = -1 }", 5, "shapes.verify: -1 is not a whole number"),
    ],
)  # fmt: skip
def test_a_fault_names_file_and_line(old: str, new: str, line: int, message: str) -> None:
    assert old in MATRIX
    with pytest.raises(BadCall) as error:
        config(MATRIX.replace(old, new, 1))
    assert str(error.value).startswith(f"folder/mine.toml line {line}: {message}"), str(error.value)


def test_a_target_without_a_row_on_any_device_is_refused() -> None:
    nowhere = MATRIX.replace("prompt == 4", "prompt == 5")
    with pytest.raises(BadCall, match="target 'short': none of the 4 rows of the matrix has prompt == 5"):
        expand(config(nowhere), "host")
    elsewhere = MATRIX.replace('where = "prompt == 4"', """where = 'prompt == 4 and device == "cuda"'""")
    assert len(expand(config(elsewhere), "host")) == 2


def test_the_targets_that_come_with_the_harness_have_one_row_each() -> None:
    shipped = parse_config(read_text(SHIPPED), SHIPPED)
    rows = [one.fields() for one in expand(shipped, "cuda")]
    assert len(rows) == 10
    assert len(shipped.targets) == 13
    for target in shipped.targets:
        wanted = parse_where(target.where, ROW_FIELDS)
        assert sum(wanted(fields) for fields in rows) == 1, target.name
        assert target.aim is not None


def test_targets_that_a_run_leaves_out_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.toml").write_text(MATRIX)
    words = [str(tmp_path / "mine.toml"), "--device", "host", "--out", str(tmp_path), "--where", "prompt == 4"]
    assert zeroulp(["bench", "allrows", *words]) == 0
    said = capsys.readouterr()
    assert "targets without a row in this run: 1 of 2 (two at once)" in said.err
    assert "0 of 1 target met" in said.out


def test_planned_targets_have_the_ids_of_their_rows() -> None:
    rows = [planned_row("a"), planned_row("b")]
    both = Target(name="both", where="prompt == 4", figure="decode_tps", must=1.0)
    none = Target(name="none", where="prompt == 5", figure="decode_tps", must=1.0)
    assert planned((both, none), rows) == (msgspec.structs.replace(both, rows=("a", "b")),)


def measured(**figures: Spread | float) -> Row:
    made = row("a", device="cuda")
    assert made.metrics is not None
    return msgspec.structs.replace(made, metrics=msgspec.structs.replace(made.metrics, **figures))


def judged(figure: str, value: float, *, must: float, aim: float | None = None) -> Judged:
    target = Target(name="t", where="", figure=figure, must=must, aim=aim)
    spread = Spread(median=value, min=value - 1, max=value + 1, samples=(value,))
    figures = {figure: value if FIGURES[figure].unit in ("%", "s", "x one token") else spread}
    return judge(target, measured(**figures), row_id="a")


@pytest.mark.parametrize(
    ("figure", "value", "state"),
    [
        ("decode_tps", 99.9, "missed"),
        ("decode_tps", 100.0, "met"),
        ("decode_tps", 120.0, "aim met"),
        ("prefill_tps", 99.9, "missed"),
        ("percent_of_read_ceiling", 119.0, "met"),
        ("decode_tps", math.nan, "missed"),
    ],
)
def test_of_speeds_more_is_better(figure: str, value: float, state: str) -> None:
    assert judged(figure, value, must=100.0, aim=120.0).state == state


@pytest.mark.parametrize("figure", ["host_us_per_token", "first_token_seconds", "verify_ratio"])
@pytest.mark.parametrize(("value", "state"), [(30.1, "missed"), (30.0, "met"), (12.0, "aim met"), (math.nan, "missed")])
def test_of_times_less_is_better(figure: str, value: float, state: str) -> None:
    assert judged(figure, value, must=30.0, aim=12.0).state == state


def test_by_how_much() -> None:
    assert judged("decode_tps", 150.0, must=100.0).over(100.0) == pytest.approx(0.5)
    assert judged("decode_tps", 50.0, must=100.0).over(100.0) == pytest.approx(-0.5)
    assert judged("host_us_per_token", 45.0, must=30.0).over(30.0) == pytest.approx(-0.5)
    assert judged("host_us_per_token", 15.0, must=30.0).over(30.0) == pytest.approx(0.5)


def test_without_an_aim_nothing_is_aimed_at() -> None:
    assert judged("decode_tps", 1e9, must=100.0).state == "met"


@pytest.mark.parametrize("made", [None, row("a")], ids=["no row", "a row without the figure"])
def test_what_was_not_measured_is_not_met(made: Row | None) -> None:
    target = Target(name="t", where="", figure="decode_tps", must=1.0)
    found = judge(target, made, row_id="a")
    assert found.state == "not measured"
    assert math.isnan(found.value)


def test_a_figure_of_another_version_is_refused_by_name() -> None:
    target = Target(name="t", where="", figure="warp_speed", must=1.0)
    with pytest.raises(BadCall, match=r"target 't': no figure 'warp_speed', expected one of decode_tps"):
        judge(target, row("a"), row_id="a")
