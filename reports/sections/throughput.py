"""Measured speeds and what each toggle does to them. Only GPU rows have any."""

from __future__ import annotations

import pandas as pd

from harness.schema import Metrics, Row
from harness.store import StoredRun
from harness.words import plural
from reports.document import Block, Paragraph, Picture, Section, Table, table
from reports.effects import Effect, main_effects
from reports.frames import describe, naming, timed_rows
from reports.text import one_line
from reports.units import percent, spread

AT_ONCE = "rows at once, x one token"


def section(run: StoredRun, rows: pd.DataFrame) -> Section:
    timed = timed_rows(rows)
    blocks: list[Block] = []
    hosts = int((rows["device"] == "host").sum())
    if hosts:
        text = f"{plural(hosts, 'row')} of the host device show no tokens per second: an emulated speed is not a speed."
        blocks.append(Paragraph(text=text))
    untimed = len(rows) - hosts - len(timed)
    if untimed:
        blocks.append(Paragraph(text=f"{plural(untimed, 'row')} of other devices stored no speed.", tone="unsure"))
    if len(timed):
        blocks.extend((speeds(run, timed), *_effects(run)))
        blocks.append(
            Picture(file="throughput.png", alt="Median tokens per second with the range over repeats, one bar per row")
        )
    return Section(title="Throughput by toggle", blocks=tuple(blocks))


def speeds(run: StoredRun, timed: pd.DataFrame) -> Table:
    """A line for each timed row; a column for rows computed at once only where some row has it."""
    stored: dict[str, Row] = {row.id: row for row in run.rows}
    columns = naming(timed)
    at_once = any(row.metrics is not None and row.metrics.verify_ratio is not None for row in run.rows)
    lines = []
    for _, line in timed.iterrows():
        row = stored[line["id"]]
        if row.metrics is None:
            continue
        found = _figures(row, row.metrics)
        lines.append((describe(line, columns), line["outcome"], *(found if at_once else found[:-1])))
    figures = ("decode, tokens/s", "of read ceiling", "prefill, tokens/s", "CPU µs per token", *[AT_ONCE] * at_once)
    names = ("configuration", "parity", *figures)
    return table("Median (least to most over the repeats)", names, lines, numbers=names[2:], folded=len(lines) > 40)


def _figures(row: Row, metrics: Metrics) -> tuple[str, ...]:
    share, ratio = metrics.percent_of_read_ceiling, metrics.verify_ratio
    return (
        spread(metrics.decode_tps),
        "—" if share is None else percent(share),
        spread(metrics.prefill_tps),
        spread(metrics.host_us_per_token),
        "—" if ratio is None else f"{row.shape.verify} rows: {ratio:.3f}",
    )


def _effects(run: StoredRun) -> list[Block]:
    found = main_effects(run)
    if not found:
        return []
    lines = [
        (
            one_line(effect.toggle),
            one_line(f"{effect.value} against {effect.against}"),
            effect.phase,
            _change(effect),
            f"{effect.pairs:,}",
            f"{effect.alone:,}",
            _percent(effect.least),
            _percent(effect.most),
        )
        for effect in found
    ]
    names = ("toggle", "values", "phase", "change of speed", "pairs", "rows alone", "least", "most")
    caption = "What a toggle does: rows that differ in it alone, ± half the 95 % interval of their mean (not a gate)"
    return [table(caption, names, lines, numbers=names[3:])]


def _change(effect: Effect) -> str:
    """ "+38.2 % ± 1.1"; one pair has no interval."""
    if effect.low is None or effect.high is None:
        return f"{_percent(effect.ratio)}, one pair"
    return f"{_percent(effect.ratio)} ± {50 * (effect.high - effect.low):.1f}"


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %"
