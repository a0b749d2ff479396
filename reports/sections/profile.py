"""The profile of a step: its kernels by time, gaps included."""

from __future__ import annotations

from collections.abc import Sequence

from harness.profile import Profile
from reports.document import Block, Cell, Paragraph, Picture, Section, Table, table
from reports.profile import GAPS, Pair, bars, by_counters, figures, title
from reports.units import percent, plain, short
from reports.verdict import MOST_PERCENT_OF_CEILING

NAMES = (
    "kernel", "shape", "calls", "us each", "us a step", "share", "bytes", "GB/s", "TOP/s", "of its ceiling", "ceiling",
)  # fmt: skip
SHARE = NAMES.index("of its ceiling")
BEFORE = ("us before", "change")
COUNTERS = ("kernel", "shape", "counted", "read", "read / counted")


def section(found: Sequence[Pair]) -> Section:
    text = (
        "Every kernel was replayed by itself with a cold L2 cache, over the weights of all layers. What an empty "
        "kernel takes in its place is subtracted and stands with the gaps: the whole step less its kernels. Bytes "
        "and operations follow from the arguments of the launches, the tensor list and the KV cache."
    )
    blocks: list[Block] = [
        Paragraph(text=text),
        Picture(file="profile.png", alt="Microseconds of a step by kernel, with what the measured ceilings ask for"),
    ]
    for pair in found:
        blocks += [_sums(pair), _table(pair), *_counters(pair.now)]
    return Section(title="Where a token's time goes", blocks=tuple(blocks))


def _sums(pair: Pair) -> Paragraph:
    now = pair.now
    parts = [
        f"{title(now)}, over {now.step_us.min:,.1f} to {now.step_us.max:,.1f} us in {len(now.step_us.samples)} samples",
        f"kernels {now.kernels_us:,.1f} us and gaps {now.gaps_us:,.1f} us ({percent(_gap_share(pair))})",
        f"an empty kernel {plain(now.empty_us)} us",
        f"{short(now.bytes, 'B')} moved, {short(now.model_bytes, 'B')} by the model of work",
    ]
    if pair.before is not None:
        was = pair.before.step_us.median
        parts.append(f"before {was:,.1f} us, {_change(now.step_us.median, was)}")
    return Paragraph(text="; ".join(parts) + ".")


def _gap_share(pair: Pair) -> float:
    return 100 * pair.now.gaps_us / pair.now.step_us.median


def _table(pair: Pair) -> Table:
    lines: list[tuple[str | Cell, ...]] = [tuple(line) for line in figures(pair.now)]
    for place, row in enumerate(sorted(pair.now.kernels, key=lambda row: (-row.step_us, row.kernel, row.shape))):
        if not (row.percent_of_roof or 0.0) <= MOST_PERCENT_OF_CEILING:
            cells = list(lines[place])
            cells[SHARE] = Cell(text=str(cells[SHARE]), tone="bad")
            lines[place] = tuple(cells)
    names: tuple[str, ...] = NAMES
    numbers: tuple[str, ...] = NAMES[2:10]
    if pair.before is not None:
        names, numbers = (*NAMES, *BEFORE), (*numbers, *BEFORE)
        lines = _with_before(pair, lines)
    return table(title(pair.now), names, lines, numbers=numbers)


def _counters(profile: Profile) -> list[Block]:
    """The counted bytes beside what the GPU's own counters say, where those were read."""
    lines = by_counters(profile)
    if not lines:
        return []
    caption = f"Bytes of {title(profile).partition(':')[0]}: counted from the launches, and read from memory by ncu"
    return [table(caption, COUNTERS, lines, numbers=COUNTERS[2:])]


def _with_before(pair: Pair, lines: Sequence[tuple[str | Cell, ...]]) -> list[tuple[str | Cell, ...]]:
    """The same lines with two columns more, and a line for what only the earlier profile has."""
    assert pair.before is not None
    *kernels, gaps, whole = lines
    found = bars(pair)
    known, gone = found[: len(kernels)], found[len(kernels) : -1]
    joined = [(*line, *_columns(bar.us, bar.before_us)) for line, bar in zip(kernels, known, strict=True)]
    joined += [(bar.kernel, bar.shape, *[""] * 9, *_columns(0.0, bar.before_us, "gone")) for bar in gone]
    assert found[-1].kernel == GAPS
    joined.append((*gaps, *_columns(found[-1].us, found[-1].before_us)))
    joined.append((*whole, *_columns(pair.now.step_us.median, pair.before.step_us.median)))
    return joined


def _columns(now: float, before: float | None, word: str = "") -> tuple[str, str]:
    if before is None:
        return "—", "new"
    return f"{before:,.1f}", word or _change(now, before)


def _change(now: float, before: float) -> str:
    return f"{100 * (now / before - 1):+.1f} %" if before > 0 else "—"
