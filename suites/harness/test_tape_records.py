"""Stored tapes: the first difference in causal order, lengths, tokens, files that are none."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.errors import BadCall
from harness.tape import Tape, TapeHead, TapePoint, build_tape, compare_tapes, read_tape, write_tape

KEYS = (("embedding", -1), ("q", 0), ("k", 0), ("attention", 0), ("logits", -1))


def tape(
    tokens: tuple[int, ...] = (5, 6, 7),
    *,
    keys: tuple[tuple[str, int], ...] = KEYS,
    spoiled: tuple[tuple[str, int], ...] = (),
    without: tuple[tuple[str, int], ...] = (),
    sha256: str = "s",
    kv: str = "f16",
    run: str = "a",
) -> Tape:
    """Every value's hash is made of its key and position; `spoiled` (key, position) have another."""
    points = [TapePoint(layer=layer, name=name, width=4, made_by=("kernel",)) for name, layer in keys]
    notes = {
        (point.key, position): (hash((point.key, position, (point.key, position) in spoiled)) % 2**64, 1, 0)
        for point in points
        for position in range(len(tokens))
        if (point.key, position) not in without
    }
    head = {
        "run": run, "model": "m", "sha256": sha256, "kv": kv, "tokens": tokens, "decoded": 1, "numerics": 1,
        "version": "0", "git_commit": "", "git_dirty": False,
    }  # fmt: skip
    return build_tape(head, points, notes)


def test_equal_tapes_say_how_much_was_compared() -> None:
    found = compare_tapes(tape(), tape())
    assert found.place is None
    assert (found.taps, found.rows, found.values, found.positions) == (5, 15, 60, 3)
    assert found.remark == ""


def test_the_first_difference_is_the_earliest_position_and_in_it_the_earliest_op() -> None:
    spoiled = (("embedding", 2), ("attention", 1), ("0.k", 1), ("logits", 1))
    place = compare_tapes(tape(), tape(spoiled=spoiled)).place
    assert place is not None
    assert (place.position, place.layer, place.tap, place.after) == (1, 0, "k", "0.q")


def test_values_that_one_side_lacks_are_passed_over_and_said() -> None:
    fused = (KEYS[0], KEYS[3], KEYS[4])
    left, right = tape(keys=fused, spoiled=(("0.attention", 0),)), tape(spoiled=(("0.q", 0),))
    found = compare_tapes(left, right)
    assert found.place is not None
    assert (found.place.tap, found.place.after, found.place.between) == ("attention", "embedding", ("0.q", "0.k"))
    assert found.rows == 9


def test_a_note_that_is_missing_is_not_compared() -> None:
    found = compare_tapes(tape(without=(("0.q", 1),)), tape(spoiled=(("0.q", 1),)))
    assert found.place is None
    assert found.rows == 14


def test_the_shorter_tape_is_compared_whole() -> None:
    found = compare_tapes(tape((5, 6), run="short"), tape((5, 6, 7, 8), spoiled=(("0.q", 3),), run="long"))
    assert found.place is None
    assert found.positions == 2
    assert found.same_tokens
    assert found.remark == "short ends after position 1, the other goes on to 3"
    place = compare_tapes(tape((5, 6)), tape((5, 6, 7), spoiled=(("0.q", 1),))).place
    assert place is not None
    assert place.position == 1


def test_other_tokens_end_the_comparison() -> None:
    found = compare_tapes(tape((5, 6, 7)), tape((5, 9, 7), spoiled=(("0.q", 1),)))
    assert found.place is None
    assert found.positions == 1
    assert not found.same_tokens
    assert found.remark == "the tokens differ from position 1 on (6 against 9)"


@pytest.mark.parametrize(("other", "message"), [(tape(sha256="t"), "model s against t"), (tape(kv="f32"), "kv f16")])
def test_what_computes_something_else_is_refused(other: Tape, message: str) -> None:
    with pytest.raises(BadCall, match=message):
        compare_tapes(tape(), other)


def test_there_and_back(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    write_tape(path, tape(without=(("0.q", 1),)))
    again = read_tape(path)
    assert again.head == tape().head
    assert compare_tapes(again, tape()).rows == 14


def test_a_tape_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.npz"
    good = tape()
    later = msgspec.structs.replace(good.head, schema=99)
    write_tape(path, Tape(head=later, present=good.present, hashes=good.hashes, tops=good.tops, nans=good.nans))
    with pytest.raises(BadCall, match=r"t\.npz: not a tape of schema 1"):
        read_tape(path)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_tape_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.npz"
    path.write_bytes(content)
    with pytest.raises(BadCall, match=r"t\.npz: not a tape"):
        read_tape(path)


def test_steps_are_counted_from_the_prefill() -> None:
    head: TapeHead = tape().head  # two tokens prefilled, one decoded
    assert [head.step(position) for position in range(3)] == [(0, 0), (0, 1), (1, 0)]
    alone = msgspec.structs.replace(head, decoded=3)
    assert [alone.step(position) for position in range(3)] == [(0, 0), (1, 0), (2, 0)]


def test_hashes_are_kept_whole(tmp_path: Path) -> None:
    good = tape()
    good.hashes[0, 0] = np.uint64(2**64 - 1)
    write_tape(tmp_path / "t.npz", good)
    assert read_tape(tmp_path / "t.npz").hashes[0, 0] == np.uint64(2**64 - 1)
