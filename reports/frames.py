"""The rows of a run as pandas tables; everything further is computed from these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from harness.schema import Metrics, PlannedRow, Row
from harness.store import StoredRun
from reports.text import one_line
from reports.verdict import failed, outcome

CONFIGURATION = ("device", "model", "quant", "depth", "context", "prompt", "generated", "verify")  # then toggles
WORK = (
    "launches_per_token",
    "graph_kernels_per_token",
    "prefill_launches_per_token",
    "bytes_per_token",
    "operations_per_token",
    "prefill_bytes_per_token",
    "prefill_operations_per_token",
)
NAME = 28  # characters of a model's name in a description; the table of models has the whole
UNSET = "unset"  # a toggle that other rows of the run have and this one has not


def toggle_names(run: StoredRun) -> tuple[str, ...]:
    """All toggles of the run, in the order in which they are first met."""
    return tuple(dict.fromkeys(name for row in _all_rows(run) for name in row.toggles))


def row_frame(run: StoredRun) -> pd.DataFrame:
    """One line per planned row: configuration (foreign texts on one line), outcome and figures; missing ones too."""
    names = toggle_names(run)
    lines: list[dict[str, Any]] = []
    for row in _all_rows(run):
        line = _configuration(row, names)
        made = row if isinstance(row, Row) else None
        line["outcome"] = outcome(made, run.environment.ceilings) if made else "missing"
        line |= _figures(made.metrics if made else None)
        lines.append(line)
    order = {row.id: place for place, row in enumerate(run.plan.rows)}
    columns = ["id", *CONFIGURATION, *(toggle_column(name) for name in names), "outcome", *_figures(None)]
    frame = pd.DataFrame(lines, columns=columns)
    return frame.assign(place=frame["id"].map(order)).sort_values("place", kind="stable").reset_index(drop=True)


def timed_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """Those that stored a speed."""
    return frame[frame["decode_tps_median"].notna() | frame["prefill_tps_median"].notna()]


def check_frame(run: StoredRun) -> pd.DataFrame:
    """One line per comparison of a row, with the row's id."""
    lines = [
        {
            "id": row.id,
            "check": one_line(check.name),
            "when": check.when,
            "state": "not applicable" if check.status == "not_applicable" else "failed" if failed(check) else "passed",
            "values": check.values,
            "differing": check.differing,
            "worst_ulp": check.worst_ulp,
            "bound": one_line(check.bound),
        }
        for row in run.rows
        for check in row.proof
    ]
    return pd.DataFrame(lines, columns=["id", "check", "when", "state", "values", "differing", "worst_ulp", "bound"])


def toggle_column(name: str) -> str:
    """The column of a toggle; a prefix keeps a toggle called `model` apart from the model."""
    return f"toggle {one_line(name)}"


def configuration_columns(frame: pd.DataFrame) -> list[str]:
    return [*CONFIGURATION, *(name for name in frame.columns if name.startswith("toggle "))]


def varying(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """Those of `columns` that have more than one value in the frame."""
    return [name for name in columns if frame[name].nunique(dropna=False) > 1]


def deciding(
    frame: pd.DataFrame, columns: Sequence[str], metrics: Sequence[str], *, given: Sequence[str] = ()
) -> list[str]:
    """The fewest of `columns` that, with those `given`, decide all `metrics`; the last are dropped first.

    A column goes if the rows that agree in all others kept agree in the figures too.
    """
    kept = list(columns)
    for name in reversed(columns):
        kept_without = [other for other in kept if other != name]
        rest = [*given, *kept_without]
        distinct = len(frame[rest].drop_duplicates()) if rest else min(1, len(frame))
        if len(frame[[*rest, *metrics]].drop_duplicates()) == distinct:
            kept = kept_without
    return kept


def naming(frame: pd.DataFrame) -> list[str]:
    """Configuration columns that tell the rows of a frame apart; one that says what another says is left out.

    The depth stays: a speed means little without it.
    """
    columns = varying(frame, configuration_columns(frame))
    always = [name for name in columns if name in ("device", "model", "quant", "depth")]
    rest = [name for name in columns if name not in always]
    needed = deciding(frame, rest, ["id"], given=always)
    return [*always, *needed] or ["model", "quant"]


def common(frame: pd.DataFrame) -> str:
    """What all rows of a frame share of device, model and weight type: "qwen3-tiny Q8_0 on host"; empty if nothing."""
    shared = {name: str(frame[name].iloc[0]) for name in CONFIGURATION[:3] if len(frame) and frame[name].nunique() == 1}
    device = f"on {shared.pop('device')}" if "device" in shared else ""
    return " ".join([*shared.values(), device]).strip()


def words(column: str, value: object) -> str:
    """A configuration value with its name where the value alone says nothing: "graph on", "context 512", "Q8_0"."""
    return str(value) if column in ("model", "quant", "device") else f"{column.removeprefix('toggle ')} {value}"


def describe(frame_row: pd.Series, columns: Sequence[str]) -> str:
    """The values of some columns of one row as words: "qwen3-tiny Q8_0, context 64, graph on"; no depth of 0."""
    names = [one_line(frame_row[column], longest=NAME) for column in ("device", "model", "quant") if column in columns]
    shown = [name for name in columns if name not in ("depth", "verify") or frame_row[name] or len(columns) == 1]
    rest = [words(column, frame_row[column]) for column in shown if column not in ("device", "model", "quant")]
    return ", ".join([*([" ".join(names)] if names else []), *rest])


def _all_rows(run: StoredRun) -> list[Row | PlannedRow]:
    return [*run.rows, *run.missing]


def _configuration(row: Row | PlannedRow, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "device": one_line(row.device),
        "model": one_line(row.model.name),
        "quant": one_line(row.model.quant),
        "depth": row.shape.depth,
        "prompt": row.shape.prompt,
        "generated": row.shape.generated,
        "context": row.shape.context,
        "verify": row.shape.verify,
        **{toggle_column(name): one_line(row.toggles.get(name, UNSET)) for name in names},
    }


def _figures(metrics: Metrics | None) -> dict[str, float]:
    nan = float("nan")
    known = {name: getattr(metrics, name) if metrics else None for name in WORK}
    figures = {name: nan if value is None else float(value) for name, value in known.items()}
    for name in ("prefill_tps", "decode_tps"):
        spread = getattr(metrics, name) if metrics else None
        for part in ("median", "min", "max"):
            figures[f"{name}_{part}"] = float(getattr(spread, part)) if spread else nan
    share = metrics.percent_of_read_ceiling if metrics else None
    return figures | {"percent_of_read_ceiling": nan if share is None else share}
