"""The rows of a gate: those that moved or failed in the open, all others folded."""

from __future__ import annotations

from harness.gate.schema import GateResult, RowVerdict
from harness.words import plural
from reports.document import Block, Cell, Paragraph, Section, Table, table
from reports.gate_verdict import MOVED, VERDICTS, exit_code, in_reading_order, paired
from reports.reproduce import typed
from reports.text import one_line
from reports.units import short

NAME = 160  # characters of a row's words
NONE = "—"
COLUMNS = ("verdict", "time change", "row", "base", "head", "why")
TIMES = ("time change", "base", "head")  # shown where a row has them
METRICS = {"decode": "decode, per token", "prefill": "prefill, per prompt", "counts": "counts", "parity": "parity"}


def moved(result: GateResult) -> Section:
    """Every row that moved, failed or is absent; also those that cannot be told where that is the verdict."""
    rows = in_reading_order(result.rows, *MOVED)
    blocks: list[Block] = []
    if rows:
        blocks.append(_table(f"{plural(len(rows), 'verdict')}: moved or failed", rows, yields=9))
        blocks += _again(rows[0], shown=result.parity.reproduce)
    elif result.rows:
        blocks.append(Paragraph(text="No row moved, and none failed.", tone=""))
    else:
        blocks.append(Paragraph(text="No row was judged: nothing is shown by this gate.", tone="unsure"))
    if exit_code(result) == 3:
        blocks += _unsure(result, folded=False)
    return Section(title="Rows that moved", blocks=tuple(blocks))


def others(result: GateResult) -> Section:
    """What a reader need not look at: folded, with its number in the caption."""
    blocks: list[Block] = [] if exit_code(result) == 3 else _unsure(result, folded=True)
    accepted = in_reading_order(result.rows, "accepted")
    if accepted:
        blocks.append(
            _table(f"{plural(len(accepted), 'verdict')}: moved, and accepted", accepted, folded=True, yields=6)
        )
    unpaired = tuple(row for row in result.rows if not paired(result, row))
    if unpaired:
        text = f"{plural(len(unpaired), 'time')} of separate runs, not paired: shown, and no verdict"
        blocks.append(_table(text, unpaired, folded=True, yields=4))
    same = in_reading_order(result.rows, "same")
    if same:
        blocks.append(_table(f"{plural(len(same), 'verdict')}: the same", same, folded=True, yields=1))
    if not blocks:
        blocks.append(Paragraph(text="None."))
    return Section(title="Other rows", blocks=tuple(blocks))


def _unsure(result: GateResult, *, folded: bool) -> list[Block]:
    rows = tuple(row for row in in_reading_order(result.rows, "cannot_tell") if paired(result, row))
    if not rows:
        return []
    visible = [row.smallest_visible for row in rows if row.smallest_visible is not None]
    seen = f"; the smallest slowdown that all would have shown: {100 * max(visible):.1f} %" if visible else ""
    return [
        _table(f"{plural(len(rows), 'verdict')}: cannot be told{seen}", rows, folded=folded, yields=7 if folded else 8)
    ]


def _table(caption: str, rows: tuple[RowVerdict, ...], *, folded: bool = False, yields: int) -> Table:
    lines = [_line(row) for row in rows]
    columns = tuple(name for name in COLUMNS if name not in TIMES or any(row.ratio is not None for row in rows))
    cells = [[line[name] for name in columns] for line in lines]
    return table(caption, columns, cells, numbers=TIMES, folded=folded, yields=yields)


def _line(row: RowVerdict) -> dict[str, str | Cell]:
    """The cells of a row by column."""
    info = VERDICTS[row.verdict]
    return {
        "verdict": Cell(text=info.shown, tone=info.tone),
        "time change": change(row.ratio, row.low, row.high),
        "row": f"{one_line(row.label, longest=NAME)} · {METRICS[row.metric]}",
        "base": _time(row.base_us),
        "head": _time(row.head_us),
        "why": why(row),
    }


def change(ratio: float | None, low: float | None, high: float | None) -> str:
    """A ratio of times as a change with its interval: "+4.4 % (+3.5 to +5.3)", above 0 is slower."""
    if ratio is None:
        return NONE
    middle = f"{100 * (ratio - 1):+.1f} %"
    if low is None or high is None:
        return middle
    return f"{middle} ({100 * (low - 1):+.1f} to {100 * (high - 1):+.1f})"


def why(row: RowVerdict) -> str:
    """Reason, confirmation, clock and power of a row's verdict, as far as they are known."""
    parts = [one_line(row.confirmation), one_line(row.reason)]
    if row.clock_ratio is not None and row.verdict in MOVED:
        parts.append(f"SM clock {100 * (row.clock_ratio - 1):+.1f} %")
    if row.verdict == "cannot_tell" and row.smallest_visible is not None:
        parts.append(f"would have shown {100 * row.smallest_visible:.1f} %")
    if row.noise_class:
        parts.append(f"noise {one_line(row.noise_class)}")
    if row.pairs:
        parts.append(plural(row.pairs, "pair"))
    return "; ".join(part for part in parts if part) or NONE


def _again(row: RowVerdict, *, shown: str) -> list[Block]:
    """The command of a row, if it is not shown already."""
    if row.rerun in ("", shown):
        return []
    return [Paragraph(text="To judge the first of them alone (gate.json has this for every row):"), typed(row.rerun)]


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return NONE
    return f"{short(microseconds)} us" if not microseconds >= 1000 else f"{short(microseconds / 1000)} ms"
