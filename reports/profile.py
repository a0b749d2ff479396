"""Where the time of a step goes: its kernels by time, gaps included, with or without an earlier profile beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.profile import KernelRow, Profile
from harness.schema import Ceiling
from harness.words import plural
from reports.roofline import READ, Point, per_second
from reports.text import one_line
from reports.units import count, percent, short
from reports.verdict import EXIT_CODES, MOST_PERCENT_OF_CEILING, Verdict

GAPS = "gaps between kernels"
NONE = "—"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """Time of a step that one kernel on one shape takes, or the gaps. Microseconds a step."""

    kernel: str
    shape: str
    what: str  # in few words: the tensors it reads, else the shape
    us: float
    ideal_us: float  # that the ceiling asks for; 0 where none bounds it
    roof: str
    percent: float | None
    before_us: float | None  # in the earlier profile; None if it has no such kernel and shape


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A profile, and an earlier one of the same model and rows if there is one."""

    now: Profile
    before: Profile | None = None


def pairs(now: Sequence[Profile], before: Sequence[Profile] = ()) -> tuple[Pair, ...]:
    """Each profile with the first earlier one of the same model, weight type and rows."""
    return tuple(
        Pair(now=profile, before=next((old for old in before if _subject(old) == _subject(profile)), None))
        for profile in now
    )


def _subject(profile: Profile) -> tuple[object, ...]:
    return profile.model.name, profile.model.quant, profile.rows


def bars(pair: Pair) -> list[Bar]:
    """Kernels by time, the longest first, then what the earlier profile alone has, then the gaps."""
    old = {(row.kernel, row.shape): 0.0 for row in pair.before.kernels} if pair.before else {}
    for row in pair.before.kernels if pair.before else ():
        old[row.kernel, row.shape] += row.step_us
    found: list[Bar] = []
    for row in _ordered(pair.now):
        found.append(
            Bar(
                kernel=one_line(row.kernel),
                shape=named_shape(row),
                what=", ".join(matrices(row)) or one_line(row.shape),
                us=row.step_us,
                ideal_us=row.step_us * (row.percent_of_roof or 0.0) / 100,
                roof=row.roof,
                percent=row.percent_of_roof,
                before_us=old.pop((row.kernel, row.shape), None),
            )
        )
    for (kernel, shape), us in sorted(old.items(), key=lambda item: -item[1]):
        found.append(_plain(one_line(kernel), one_line(shape), 0.0, us))
    return [*found, _plain(GAPS, "", pair.now.gaps_us, pair.before.gaps_us if pair.before else None)]


def _plain(kernel: str, shape: str, us: float, before: float | None) -> Bar:
    return Bar(kernel=kernel, shape=shape, what=shape, us=us, ideal_us=0.0, roof="", percent=None, before_us=before)


def _ordered(profile: Profile) -> list[KernelRow]:
    return sorted(profile.kernels, key=lambda row: (-row.step_us, row.kernel, row.shape))


def named_shape(row: KernelRow) -> str:
    """The shape with the tensors that have it: "1 x 4096 x 4096 Q4_K (attn_q, attn_output)"."""
    names = matrices(row)
    return one_line(row.shape) + (f" ({', '.join(names)})" if names else "")


def matrices(row: KernelRow) -> list[str]:
    """The tensors it reads, but for norms."""
    return [one_line(name) for name in row.weights if "norm" not in name]


def figures(profile: Profile) -> list[tuple[str, ...]]:
    """A line of texts for each kernel by time, for the gaps and for the sum: kernel, shape, calls, microseconds each
    and a step, share of the step, bytes, GB/s, TOP/s, share of the ceiling that bounds it, that ceiling."""
    whole = profile.step_us.median
    lines: list[tuple[str, ...]] = []
    for row in _ordered(profile):
        bound = row.percent_of_roof is not None
        lines.append(
            (
                one_line(row.kernel),
                named_shape(row),
                count(row.calls),
                f"{row.us.median:.2f}",
                f"{row.step_us:.1f}",
                percent(100 * row.step_us / whole),
                short(row.bytes, "B") if row.bytes else NONE,
                f"{row.bytes_per_s / 1e9:,.0f}" if row.bytes and row.step_us else NONE,
                f"{row.operations_per_s / 1e12:,.1f}" if row.operations and row.step_us else NONE,
                percent(row.percent_of_roof or 0.0) if bound else NONE,
                row.roof or NONE,
            )
        )
    gaps = profile.gaps_us
    between = f"{gaps / profile.calls:.2f}" if profile.calls else NONE
    gap_line = (GAPS, "", count(profile.calls), between, f"{gaps:.1f}", percent(100 * gaps / whole))
    sum_line = (
        "the whole step",
        "",
        count(profile.calls),
        "",
        f"{whole:.1f}",
        percent(100.0),
        short(profile.bytes, "B"),
    )
    rates = (f"{profile.bytes / whole / 1e3:,.0f}", f"{profile.operations / whole / 1e6:,.1f}")
    return [*lines, (*gap_line, *[NONE] * 5), (*sum_line, *rates, NONE, NONE)]


def title(profile: Profile) -> str:
    """One line: what was taken apart."""
    kind = "decode step" if profile.rows == 1 else f"pass of {profile.rows} rows"
    speed = f"{profile.step_us.median:,.1f} us, {1e6 * profile.rows / profile.step_us.median:,.0f} tokens/s"
    return f"{model_name(profile)}, {kind} at position {profile.position}: {speed}"


def model_name(profile: Profile) -> str:
    return f"{one_line(profile.model.name)} {one_line(profile.model.quant)}"


def decide(profiles: Sequence[Profile], ceilings: Sequence[Ceiling]) -> Verdict:
    """Exit code 0 if all figures can be, 2 if the kernels of a step are together above 105 % of what a machine can."""
    broken = [text for profile in profiles if (text := implausible(profile, ceilings))]
    code = 2 if broken or not profiles else 0
    said = [
        f"{title(item)}; {plural(item.calls, 'kernel')} {item.kernels_us:,.1f} us, gaps {item.gaps_us:,.1f} us"
        for item in profiles
    ]
    notes = [f"note: {note}" for profile in profiles for note in _notes(profile)]
    text = "; ".join(broken) or "; ".join(title(profile) for profile in profiles) or "no step was taken apart"
    return Verdict(
        exit_code=code,
        icon=EXIT_CODES[code][0],
        headline=f"{'BROKEN' if code else 'MEASURED'}: {text}",
        reasons=(*said, *notes),
        counts={},
    )


def implausible(profile: Profile, ceilings: Sequence[Ceiling]) -> str:
    """Which claim of a profile no machine with these ceilings can keep; empty if it can be."""
    asked = sum(row.step_us * (row.percent_of_roof or 0.0) / 100 for row in profile.kernels)
    shares = {"its kernels together": _share(asked, profile.kernels_us)}
    read = next((rate for ceiling in ceilings if ceiling.name == READ and (rate := per_second(ceiling))), None)
    if read is not None:
        shares["the whole step"] = _share(1e6 * profile.bytes / read, profile.step_us.median)
    for what, share in shares.items():
        if not share <= MOST_PERCENT_OF_CEILING:
            return f"{title(profile)}: {what} at {percent(share)} of the measured ceilings"
    return ""


def _share(asked_us: float, taken_us: float) -> float:
    return 100 * asked_us / taken_us if taken_us > 0 else 0.0 if asked_us == 0 else float("inf")


def _notes(profile: Profile) -> list[str]:
    """What a reader should doubt, one line each."""
    notes: list[str] = []
    high = [row for row in profile.kernels if not (row.percent_of_roof or 0.0) <= MOST_PERCENT_OF_CEILING]
    if high:
        first = f"{one_line(high[0].kernel)} on {one_line(high[0].shape)}"
        notes.append(f"{plural(len(high), 'kernel')} above {MOST_PERCENT_OF_CEILING:.0f} % of a ceiling, first {first}")
    if not abs(profile.bytes - profile.model_bytes) <= 0.02 * profile.model_bytes:
        moved, counted = short(profile.bytes, "B"), short(profile.model_bytes, "B")
        notes.append(f"the launches were given {moved}, the tensor list and the KV cache say {counted}")
    return notes


def points(profile: Profile) -> tuple[Point, ...]:
    """The kernels that move and compute, for the roofline."""
    return tuple(
        Point(
            row=row.kernel,
            phase="decode" if profile.rows == 1 else "prefill",
            model=one_line(row.kernel),
            quant=one_line(row.shape),
            context=profile.context,
            intensity=row.operations / row.bytes,
            rate=row.operations_per_s,
            roof=row.roof,
            percent=row.percent_of_roof if row.percent_of_roof is not None else float("nan"),
            title=_few_words(row),
        )
        for row in profile.kernels
        if row.bytes > 0 and row.operations > 0 and row.step_us > 0
    )


def _few_words(row: KernelRow) -> str:
    """ "attn_q, attn_output Q4_K": the tensors with the type, which ends the shape; the kernel where there are none."""
    names = matrices(row)
    return f"{', '.join(names)} {one_line(row.shape.split()[-1])}" if names else one_line(row.kernel)


def moves(pair: Pair) -> tuple[tuple[Point, Point], ...]:
    """Where kernels stood before and where they stand now."""
    old = {(point.model, point.quant): point for point in points(pair.before)} if pair.before else {}
    found = ((old.get((point.model, point.quant)), point) for point in points(pair.now))
    return tuple((was, point) for was, point in found if was is not None)


def by_counters(profile: Profile) -> list[tuple[str, ...]]:
    """A line of texts for each kernel that moves counted bytes, and for the sum: kernel, shape, bytes as counted from
    the launches, bytes read by the GPU's counters, their ratio. Empty where the counters were not read."""
    rows = [row for row in _ordered(profile) if row.dram_bytes is not None and row.bytes]
    lines = [_counters_line(one_line(row.kernel), named_shape(row), row.bytes, row.dram_bytes or 0.0) for row in rows]
    if not lines:
        return []
    read = sum(row.dram_bytes or 0.0 for row in rows)
    return [*lines, _counters_line("all of these", "", sum(row.bytes for row in rows), read)]


def _counters_line(name: str, shape: str, counted: float, read: float) -> tuple[str, ...]:
    return name, shape, short(counted, "B"), short(read, "B"), f"{read / counted:.3f}"
