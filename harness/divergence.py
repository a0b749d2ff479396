"""Where two ways to compute the same part first: the value, its op with its inputs, and how to see it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.adapters.diverge.script import Rows, Script, Seen, Side
from harness.compare import bits, ordered
from harness.errors import BadCall
from harness.schema import Record
from harness.tape import Place, TapeComparison, compare_tapes
from harness.words import plural

DIVERGENCE_SCHEMA = 1
MOST_NAMED = 3  # taps, where a side lacks some


class Element(Record, frozen=True, kw_only=True):
    """The first value of a row that differs. Values as text: nine digits give a float32 back."""

    index: int
    width: int  # values of the row
    left: str
    right: str
    left_bits: str  # hexadecimal
    right_bits: str
    ulps: int | None  # None if one of the two is not finite
    differing: int  # values of the row
    worst_ulps: int | None


class Where(Record, frozen=True, kw_only=True):
    """The first tap that differs."""

    step: int  # 0 is the prefill
    row: int  # of the step
    position: int
    layer: int  # -1 outside the layers
    tap: str
    after: str  # the last tap before it that both have, which is equal
    between: tuple[str, ...]  # what only one side has between the two: the other has one kernel for it
    element: Element | None  # None where only hashes are known, or a second run gave equal rows
    left_op: str = ""
    right_op: str = ""
    left_note: str = ""  # of tapes: what is known of the value
    right_note: str = ""
    other_inputs: tuple[str, ...] = ()  # inputs of the op that differ though no tap before it does

    @property
    def key(self) -> str:
        return self.tap if self.layer < 0 else f"{self.layer}.{self.tap}"


class Divergence(Record, frozen=True, kw_only=True):
    """What became of a comparison. `where` is None if all that was compared is equal."""

    schema: int = DIVERGENCE_SCHEMA
    left: str
    right: str
    model: str
    where: Where | None
    taps: int
    rows: int  # of taps, over all positions
    values: int
    positions: int
    ulps: int = 0  # the bound
    lacking: str = ""  # of values: which side lacks taps of the other
    shared: bool = False  # whether those that both have are enough
    remarks: tuple[str, ...] = ()
    same_tokens: bool = True
    folder: str = ""  # where the op lies

    @property
    def exit_code(self) -> int:
        """1 if they differ, 3 if nothing was compared or not all that could be, else 0."""
        if self.where is not None:
            return 1
        return 0 if self.rows and self.same_tokens and (self.shared or not self.lacking) else 3


@dataclass(frozen=True, kw_only=True)
class Found:
    """A divergence, and both ops where they could be kept."""

    divergence: Divergence
    left: Seen | None = None
    right: Seen | None = None


def diverge(a: Side, b: Side, script: Script | None, *, ulps: int = 0, shared: bool = False) -> Found:
    """Run both sides, compare, and where they differ run them again for the op. `script` is None for stored tapes.

    With `ulps` values are compared; without, hashes. Values must be those of all taps that either side has, or, if
    `shared`, of those that both have. Raises BadCall where a side cannot.
    """
    if ulps:
        return _by_values(a, b, script, ulps, shared=shared)
    left, right = a.tape(), b.tape()
    compared = compare_tapes(left, right, names=(a.run, b.run))
    remarks = [f"{side.run}: {text}" for side, tape in ((a, left), (b, right)) for text in tape.head.caveats]
    result = _divergence(a, b, left.head.model, compared, remarks=(*remarks, *filter(None, [compared.remark])))
    place = compared.place
    if place is None:
        return Found(divergence=result)
    step, row = left.head.step(place.position)
    where = _where(
        place, step, row, notes=(left.note(place.key, place.position), right.note(place.key, place.position))
    )
    return _looked_at(a, b, msgspec.structs.replace(result, where=where))


def _by_values(a: Side, b: Side, script: Script | None, ulps: int, *, shared: bool) -> Found:
    left, right = a.rows(), b.rows()
    assert script is not None  # two stored tapes have no rows
    lacking = "; ".join(_lacking((a.run, left), (b.run, right)))
    compared = _compare_rows(left, right, ulps)
    if not compared.rows:
        raise BadCall(f"--ulps: {a.run} and {b.run} have no tap in common: {lacking}")
    result = msgspec.structs.replace(
        _divergence(a, b, script.name, compared, ulps=ulps), lacking=lacking, shared=shared
    )
    if compared.place is None:
        return Found(divergence=result)
    where = _where(compared.place, *script.step(compared.place.position))
    return _looked_at(a, b, msgspec.structs.replace(result, where=where))


def _divergence(
    a: Side, b: Side, model: str, compared: TapeComparison, *, ulps: int = 0, remarks: tuple[str, ...] = ()
) -> Divergence:
    return Divergence(
        left=a.run, right=b.run, model=model, where=None, taps=compared.taps, rows=compared.rows,
        values=compared.values, positions=compared.positions, ulps=ulps, remarks=remarks,
        same_tokens=compared.same_tokens,
    )  # fmt: skip


def _where(place: Place, step: int, row: int, *, notes: tuple[str, str] = ("", "")) -> Where:
    return Where(
        step=step, row=row, position=place.position, layer=place.layer, tap=place.tap, after=place.after,
        between=place.between, element=None, left_note=notes[0], right_note=notes[1],
    )  # fmt: skip


def _looked_at(a: Side, b: Side, found: Divergence) -> Found:
    """Run both sides again for the op and its inputs, if they can."""
    where = found.where
    assert where is not None
    left, right = a.look(where.key, where.position), b.look(where.key, where.position)
    if left is None or right is None:
        return Found(divergence=found)
    element = first_element(left.row, right.row, bound=found.ulps)
    again = "a second run of both sides gave equal rows: what differs does not come back each time"
    where = msgspec.structs.replace(
        where, element=element, left_op=left.op.text, right_op=right.op.text, other_inputs=_other_inputs(left, right)
    )
    result = msgspec.structs.replace(
        found, where=where, remarks=(*found.remarks, again) if element is None else found.remarks
    )
    return Found(divergence=result, left=left, right=right)


def _other_inputs(left: Seen, right: Seen) -> tuple[str, ...]:
    theirs = right.op.inputs
    return tuple(
        name
        for name, array in left.op.inputs.items()
        if name in theirs and theirs[name].shape == array.shape and array.tobytes() != theirs[name].tobytes()
    )


def first_element(left: NDArray[Any], right: NDArray[Any], *, bound: int = 0) -> Element | None:
    """The first value that is further apart than `bound` ulps; a NaN equals a NaN and nothing else."""
    if left.shape != right.shape:
        raise ValueError(f"rows of {left.size} and {right.size} values")
    left, right = _comparable(left), _comparable(right)
    apart, finite = _distance(left, right)
    far = ~(apart <= bound)
    if not far.any():
        return None
    first = int(np.flatnonzero(far)[0])
    known = apart[far & finite]
    return Element(
        index=first, width=left.size, left=_text(left[first]), right=_text(right[first]),
        left_bits=left[first].tobytes()[::-1].hex(), right_bits=right[first].tobytes()[::-1].hex(),
        ulps=int(apart[first]) if finite[first] else None, differing=int(far.sum()),
        worst_ulps=int(known.max()) if known.size else None,
    )  # fmt: skip


def _comparable(row: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):
        return row.astype(np.float32) if row.dtype == np.float64 else row


def _distance(left: NDArray[Any], right: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """In ulps of the type, infinite where one is not finite and the bits differ; and where both are finite."""
    if left.dtype == np.int8:
        return np.abs(left.astype(np.float64) - right), np.ones(left.shape, np.bool_)
    finite = np.isfinite(left) & np.isfinite(right)
    if left.dtype == np.float16:
        patterns = [half.view(np.int16).astype(np.int64) for half in (left, right)]
        whole = [np.where(p < 0, -1 - (p & 0x7FFF), p) for p in patterns]
        same = (left.view(np.uint16) == right.view(np.uint16)) | (np.isnan(left) & np.isnan(right))
    else:
        whole = [ordered(left), ordered(right)]
        same = bits(left) == bits(right)
    apart = np.abs(whole[0] - whole[1]).astype(np.float64)
    return np.where(same, 0.0, np.where(finite, apart, np.inf)), finite


def _text(value: Any) -> str:
    return str(int(value)) if value.dtype == np.int8 else f"{float(value):.9g}"


def _lacking(*sides: tuple[str, Rows]) -> list[str]:
    """For each side that lacks values of the other, which taps."""
    found = []
    for (run, own), (_, other) in (sides, sides[::-1]):
        lost = list(dict.fromkeys(key for key, position in other if (key, position) not in own))
        if lost:
            named = f"{', '.join(lost[:MOST_NAMED])}{', ...' if len(lost) > MOST_NAMED else ''}"
            found.append(f"{run} lacks {len(lost)} of {plural(len({key for key, _ in other}), 'tap')} ({named})")
    return found


def _compare_rows(left: Rows, right: Rows, bound: int) -> TapeComparison:
    order = {key: i for i, key in enumerate(dict.fromkeys(key for key, _ in left))}
    common = sorted(left.keys() & right.keys(), key=lambda at: (at[1], order[at[0]]))
    first = next((at for at in common if first_element(left[at], right[at], bound=bound) is not None), None)
    return TapeComparison(
        place=_place(first, common) if first is not None else None,
        taps=len({key for key, _ in common}),
        rows=len(common),
        values=sum(left[at].size for at in common),
        positions=len({position for _, position in common}),
        remark="",
        same_tokens=True,
    )


def _place(at: tuple[str, int], common: Sequence[tuple[str, int]]) -> Place:
    key, position = at
    before = common[common.index(at) - 1] if common.index(at) else ("", -1)
    layer, dot, tap = key.partition(".")
    return Place(
        position=position,
        layer=int(layer) if dot else -1,
        tap=tap if dot else key,
        after=before[0] if before[1] == position else "",
        between=(),
    )


def save_ops(found: Found, folder: Path) -> None:
    """Write both ops, if they could be kept, where `replay` finds them."""
    for name, seen in (("a.npz", found.left), ("b.npz", found.right)):
        if seen is not None:
            seen.op.save(folder / name, seen.row)
