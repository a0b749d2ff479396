"""Measured speeds and what each toggle does to them. Only GPU rows have any."""

from __future__ import annotations

import math

import pandas as pd

from harness.schema import Metrics, Row
from harness.store import StoredRun
from reports.document import Block, Paragraph, Picture, Section, Table, table
from reports.frames import configuration_columns, describe, naming, varying
from reports.units import percent, plural, spread

AT_ONCE = "rows at once, x one token"
KINDS = (("decode_tps_median", "decode"), ("prefill_tps_median", "prefill"))


def section(run: StoredRun, rows: pd.DataFrame) -> Section:
    timed = rows[rows["decode_tps_median"].notna() | rows["prefill_tps_median"].notna()]
    blocks: list[Block] = []
    hosts = int((rows["device"] == "host").sum())
    if hosts:
        text = f"{plural(hosts, 'row')} of the host device show no tokens per second: an emulated speed is not a speed."
        blocks.append(Paragraph(text=text))
    untimed = len(rows) - hosts - len(timed)
    if untimed:
        blocks.append(Paragraph(text=f"{plural(untimed, 'row')} of other devices stored no speed.", tone="unsure"))
    if len(timed):
        blocks.extend((speeds(run, timed), *_effects(timed)))
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


def _effects(timed: pd.DataFrame) -> list[Block]:
    """For every toggle: rows that differ in it alone, as ratios of medians. One process each, so no gate."""
    lines = []
    columns = configuration_columns(timed)
    for toggle in (name for name in varying(timed, columns) if name.startswith("toggle ")):
        rest = [name for name in columns if name != toggle]
        for metric, kind in KINDS:
            lines.extend(_pairs(timed[timed[metric].notna()], toggle, rest, metric, kind))
    if not lines:
        return []
    names = ("toggle", "values", "phase", "pairs of rows", "geometric mean", "least", "most")
    return [
        table(
            "What a toggle does: ratio of medians between rows that differ in it alone (not a gate)",
            names,
            lines,
            numbers=names[3:],
        )
    ]


def _pairs(rows: pd.DataFrame, toggle: str, rest: list[str], metric: str, kind: str) -> list[tuple[str, ...]]:
    if rows.empty:
        return []
    wide = rows.pivot_table(index=rest, columns=toggle, values=metric, aggfunc="first", observed=True)
    wide = wide[[value for value in dict.fromkeys(rows[toggle]) if value in wide.columns]]
    lines: list[tuple[str, ...]] = []
    first = wide.columns[0]
    for other in wide.columns[1:]:
        ratios = (wide[first] / wide[other]).dropna()
        if len(ratios):
            mean = math.exp(sum(math.log(ratio) for ratio in ratios) / len(ratios))
            values = (f"{mean:.3f}", f"{ratios.min():.3f}", f"{ratios.max():.3f}")
            lines.append((toggle.removeprefix("toggle "), f"{first} / {other}", kind, f"{len(ratios)}", *values))
    return lines
