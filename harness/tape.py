"""A stored tape: what every op of a run wrote, as hashes by op and position. Where two of them differ first.

A position depends on the positions before it and on itself, and within it an op on the ops before it, so the first
difference in the order (position, op) has no cause among the things that were compared. Tapes have the length of
their runs: of two, the shorter is compared whole.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.errors import BadCall
from harness.schema import Record
from harness.store import write_atomically

TAPE_SCHEMA = 1
_ARRAYS = {"present": np.bool_, "hashes": np.uint64, "tops": np.uint32, "nans": np.uint32}


class TapePoint(Record, frozen=True, kw_only=True):
    """A value of a step: a tap's name, its layer (-1 outside the layers)."""

    layer: int
    name: str
    width: int  # values of a row
    made_by: tuple[str, ...]  # kernels or the oracle's op; several where kinds of steps have their own

    @property
    def key(self) -> str:
        return self.name if self.layer < 0 else f"{self.layer}.{self.name}"


class TapeHead(Record, frozen=True, kw_only=True):
    """Whose tape it is. `tokens` from the first position on; the last `decoded` of them were given one by one."""

    schema: int = TAPE_SCHEMA
    run: str  # as it was asked for: "host:graph=off"
    model: str  # path or name
    sha256: str
    kv: str
    tokens: tuple[int, ...]
    decoded: int
    numerics: int
    version: str
    git_commit: str
    git_dirty: bool
    caveats: tuple[str, ...] = ()  # what was asked for and did not engage
    points: tuple[TapePoint, ...]  # in causal order

    def step(self, position: int) -> tuple[int, int]:
        """Step and row in it: step 0 is the prefill."""
        return step_of(position, prefilled=len(self.tokens) - self.decoded)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tape:
    """Arrays are (points, positions); where nothing is present the others mean nothing."""

    head: TapeHead
    present: NDArray[np.bool_]
    hashes: NDArray[np.uint64]
    tops: NDArray[np.uint32]  # largest magnitude, by its bits
    nans: NDArray[np.uint32]

    def note(self, key: str, position: int) -> str:
        """What is known of a value, in words."""
        i = next(i for i, point in enumerate(self.head.points) if point.key == key)
        known = f"hash {int(self.hashes[i, position]):016x}, largest magnitude 0x{int(self.tops[i, position]):x}"
        return f"{known}, {int(self.nans[i, position])} NaN, made by {' or '.join(self.head.points[i].made_by)}"


class Place(Record, frozen=True, kw_only=True):
    """Where two tapes differ first. `between`: values that one side has between the last equal one and this."""

    position: int
    layer: int
    tap: str
    after: str  # the last value before it that both have and that is equal; empty if it is the first
    between: tuple[str, ...]

    @property
    def key(self) -> str:
        return self.tap if self.layer < 0 else f"{self.layer}.{self.tap}"


@dataclass(frozen=True, kw_only=True)
class TapeComparison:
    """`place` is None where all that both have is equal, which is nothing if `rows` is 0."""

    place: Place | None
    taps: int  # points that both have
    rows: int  # of points at positions
    values: int
    positions: int  # compared
    remark: str  # how the token lists differ; empty if they do not
    same_tokens: bool  # one list is the beginning of the other


def step_of(position: int, *, prefilled: int) -> tuple[int, int]:
    """Step and row in it; step 0 is the prefill, if anything was prefilled."""
    return (0, position) if position < prefilled else (position - prefilled + bool(prefilled), 0)


def compare_tapes(a: Tape, b: Tape, *, names: tuple[str, str] | None = None) -> TapeComparison:
    """`names` are what messages call them, by default their runs. Raises BadCall if they compute different things."""
    names = names or (a.head.run, b.head.run)
    _require_alike(a.head, b.head, names)
    positions, remark, same = _common_positions(a.head.tokens, b.head.tokens, names)
    other = {point.key: i for i, point in enumerate(b.head.points)}
    common = [(i, other[point.key]) for i, point in enumerate(a.head.points) if point.key in other]
    left, right = (np.array([pair[side] for pair in common], np.int64) for side in (0, 1))
    both = a.present[left, :positions] & b.present[right, :positions]
    same_note = np.logical_and.reduce(
        [getattr(a, name)[left, :positions] == getattr(b, name)[right, :positions] for name in _ARRAYS]
    )
    differs = both & ~same_note
    widths = np.array([a.head.points[i].width for i in left], np.int64)
    return TapeComparison(
        place=_first_place(a, b, left, both, differs) if differs.any() else None,
        taps=int(both.any(axis=1).sum()),
        rows=int(both.sum()),
        values=int((both.sum(axis=1) * widths).sum()),
        positions=positions,
        remark=remark,
        same_tokens=same,
    )


def _first_place(
    a: Tape, b: Tape, left: NDArray[np.int64], both: NDArray[np.bool_], differs: NDArray[np.bool_]
) -> Place:
    position = int(np.flatnonzero(differs.any(axis=0))[0])
    first = int(np.flatnonzero(differs[:, position])[0])
    point = a.head.points[left[first]]
    equal = np.flatnonzero(both[:first, position])
    after = a.head.points[left[equal[-1]]].key if equal.size else ""
    between = [key for tape in (a, b) for key in _between(tape, after, point.key, position)]
    return Place(
        position=position,
        layer=point.layer,
        tap=point.name,
        after=after,
        between=tuple(dict.fromkeys(between)),
    )


def _between(tape: Tape, after: str, key: str, position: int) -> list[str]:
    """Points of one tape past `after` and before `key` that are there at this position."""
    keys = [point.key for i, point in enumerate(tape.head.points) if tape.present[i, position]]
    start = keys.index(after) + 1 if after else 0
    return keys[start : keys.index(key)]


def _require_alike(a: TapeHead, b: TapeHead, names: tuple[str, str]) -> None:
    for name, left, right in (("model", a.sha256, b.sha256), ("kv", a.kv, b.kv)):
        if left != right:
            what = f"{name} {left[:12]} against {right[:12]}"
            raise BadCall(f"{names[0]} and {names[1]} do not compute the same: {what}")


def _common_positions(left: tuple[int, ...], right: tuple[int, ...], names: tuple[str, str]) -> tuple[int, str, bool]:
    """Positions with the same tokens up to them, what to say of the rest, and whether there is only one rest."""
    shorter = min(len(left), len(right))
    same = next((i for i in range(shorter) if left[i] != right[i]), shorter)
    if same < shorter:
        return same, f"the tokens differ from position {same} on ({left[same]} against {right[same]})", False
    if len(left) == len(right):
        return same, "", True
    first = names[0] if len(left) == shorter else names[1]
    return (
        same,
        f"{first} ends after position {shorter - 1}, the other goes on to {max(len(left), len(right)) - 1}",
        True,
    )


def build_tape(
    head: Mapping[str, Any], points: Sequence[TapePoint], notes: Mapping[tuple[str, int], tuple[int, int, int]]
) -> Tape:
    """`head` is TapeHead without points; `notes` by key and position."""
    shape = (len(points), len(head["tokens"]))
    arrays: dict[str, NDArray[Any]] = {name: np.zeros(shape, dtype) for name, dtype in _ARRAYS.items()}
    index = {point.key: i for i, point in enumerate(points)}
    for (key, position), note in notes.items():
        at = index[key], position
        arrays["present"][at] = True
        for name, value in zip(("hashes", "tops", "nans"), note, strict=True):
            arrays[name][at] = value
    return Tape(head=TapeHead(**head, points=tuple(points)), **arrays)


def write_tape(path: Path, tape: Tape) -> None:
    """An .npz file, whole or not at all."""
    head = np.frombuffer(msgspec.json.encode(tape.head), np.uint8)
    file = io.BytesIO()
    np.savez_compressed(file, head=head, **{name: getattr(tape, name) for name in _ARRAYS})
    write_atomically(path, file.getvalue())


def read_tape(path: Path) -> Tape:
    """Raises BadCall if it is none."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise BadCall(f"{path}: not a tape of schema {TAPE_SCHEMA}")
    try:
        with np.load(path) as file:
            head = msgspec.json.decode(file["head"].tobytes(), type=TapeHead)
            arrays = {name: file[name] for name in _ARRAYS}
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror or 'not a tape'})") from None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        zipfile.BadZipFile,
        msgspec.MsgspecError,
    ) as error:
        raise BadCall(f"{path}: not a tape of schema {TAPE_SCHEMA} ({error})") from None
    shape = (len(head.points), len(head.tokens))
    if head.schema != TAPE_SCHEMA or any(array.shape != shape for array in arrays.values()):
        raise BadCall(f"{path}: not a tape of schema {TAPE_SCHEMA}")
    return Tape(head=head, **arrays)
