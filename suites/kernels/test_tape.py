"""tape on every device against reference/ops/tape.py, and the copies of a watched op."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.tape import tape, tape_cached, tape_copy
from reference.ops import tape as oracle
from suites.kernels.cases import GRIDS, KINDS, Kind, assert_same_integers, generator, run, values

OPS, RING = 3, 7
SHAPES = ((1, 1), (1, 31), (2, 33), (5, 256), (3, 1023), (1, 1024), (2, 1025), (1, 4099))
TYPES = ("float32", "float16", "int8")


def _typed(case: object, rows: int, width: int, dtype: str, kind: Kind = "normal") -> NDArray[Any]:
    if dtype == "int8":
        return generator((case, rows, width)).integers(-128, 128, (rows, width)).astype(np.int8)
    with np.errstate(over="ignore"):
        return values(case, rows, width, kind=kind).astype(dtype)


def _noted(
    device: Device, x: NDArray[Any], *, position: int = 0, op: int = 1, first: int = 0, grid_limit: int | None = None
) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Hashes (OPS, RING) and notes (OPS, RING, 3) after one launch."""
    results = run(
        device,
        {"x": x, "position": np.array([position], np.int32)},
        {"hashes": ((OPS, RING), np.int64), "notes": ((OPS, RING, 3), np.int32)},
        lambda stream, b: tape(stream, b["x"], b["position"], op=op, first=first, hashes=b["hashes"], notes=b["notes"]),
        grid_limit=grid_limit,
    )
    return results["hashes"].view(np.uint64), results["notes"]


def _assert_marks(hashes: NDArray[np.uint64], notes: NDArray[np.int32], x: NDArray[Any], what: str) -> None:
    """`hashes` and `notes` of the rows of `x`, in their order."""
    expected = oracle.exact(x)
    assert_same_integers(hashes, expected.hashes, f"{what}: hashes")
    assert_same_integers(notes[:, 1].view(np.uint32), expected.tops, f"{what}: tops")
    assert_same_integers(notes[:, 2].view(np.uint32), expected.nans, f"{what}: NaN")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize(("rows", "width"), SHAPES)
def test_shapes(device: Device, rows: int, width: int, dtype: str, grid_limit: int | None) -> None:
    x = _typed("x", rows, width, dtype)
    hashes, notes = _noted(device, x, grid_limit=grid_limit)
    _assert_marks(hashes[1, :rows], notes[1, :rows], x, f"tape {dtype} ({rows}, {width})")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind, dtype: str) -> None:
    x = _typed("x", 3, 801, dtype, kind)
    hashes, notes = _noted(device, x)
    _assert_marks(hashes[1, :3], notes[1, :3], x, f"tape {kind}")


def test_every_nan_is_one_nan(device: Device) -> None:
    x = values("x", 1, 64)
    x[0, 5] = np.nan
    hashes, notes = _noted(device, x)
    x.view(np.uint32)[0, 5] = 0xFFC00001
    assert _noted(device, x)[0][1, 0] == hashes[1, 0]
    assert notes[1, 0, 2] == 1


def test_one_bit_and_two_swapped_elements_show(device: Device) -> None:
    x = values("x", 1, 300)
    clean = _noted(device, x)[0][1, 0]
    flipped, swapped, signed = x.copy(), x.copy(), np.zeros((1, 300), np.float32)
    flipped.view(np.uint32)[0, 299] ^= 1
    swapped[0, [3, 4]] = x[0, [4, 3]]
    zero = _noted(device, signed)[0][1, 0]
    signed[0, 0] = -0.0
    hashes = [_noted(device, changed)[0][1, 0] for changed in (flipped, swapped, signed)]
    assert len({clean, zero, *hashes}) == 5


@pytest.mark.parametrize(("position", "first"), [(0, 0), (2, 3), (6, 0), (40, 1)])
def test_a_position_has_its_place_and_nothing_else_is_touched(device: Device, position: int, first: int) -> None:
    x = _typed("x", 3, 40, "float32")
    hashes, notes = _noted(device, x, position=position, first=first, op=2)
    slots = [(position + first + row) % RING for row in range(3)]
    _assert_marks(hashes[2, slots], notes[2, slots], x, f"position {position} + {first}")
    assert notes[2, slots, 0].tolist() == [position + first + row for row in range(3)]
    notes[2, slots] = -1
    assert (notes == -1).all()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize(("position", "rows"), [(0, 1), (3, 2), (7, 2)])
def test_a_cache_is_noted_where_the_step_wrote(device: Device, position: int, rows: int, dtype: str) -> None:
    """Position 7 of 8: the second row is past the end and leaves no note."""
    cache = _typed("cache", 3 * 8, 20, dtype).reshape(3, 8, 20)
    results = run(
        device,
        {"cache": cache, "position": np.array([position], np.int32)},
        {"hashes": ((OPS, RING), np.int64), "notes": ((OPS, RING, 3), np.int32)},
        lambda stream, b: tape_cached(
            stream, b["cache"], b["position"], rows=rows, op=0, hashes=b["hashes"], notes=b["notes"]
        ),
    )
    there = [place for place in range(position, position + rows) if place < 8]
    written = cache[:, there].swapaxes(0, 1).reshape(len(there), -1)
    slots = [place % RING for place in there]
    _assert_marks(results["hashes"].view(np.uint64)[0, slots], results["notes"][0, slots], written, "cache")
    assert (results["notes"][..., 0] >= 0).sum() == len(there)


@pytest.mark.parametrize(("wanted", "copied"), [(4, False), (5, True), (6, True), (7, False)])
def test_a_copy_is_made_in_the_wanted_step_only(device: Device, wanted: int, copied: bool) -> None:
    """A step of two rows whose first, one past position 4, stands at 5."""
    source = values("source", 2, 700)
    results = run(
        device,
        {"source": source, "position": np.array([4], np.int32)},
        {"out": ((source.nbytes,), np.uint8), "taken": ((2,), np.int32)},
        lambda stream, b: tape_copy(
            stream, b["source"], b["position"], wanted=wanted, first=1, rows=2, mark=9, out=b["out"], taken=b["taken"]
        ),
    )
    assert results["taken"].tolist() == ([9, 4] if copied else [-1, -1])
    expected = source.view(np.uint8).reshape(-1) if copied else np.full(source.nbytes, 0xFF, np.uint8)
    assert_same_integers(results["out"], expected, "copy")


def test_schedules(host_variant: HostDevice) -> None:
    x = _typed("x", 5, 1300, "float32", "one NaN")
    for limit in GRIDS:
        hashes, notes = _noted(host_variant, x, grid_limit=limit)
        _assert_marks(hashes[1, :5], notes[1, :5], x, f"tape on {limit} blocks")


def test_more_rows_than_the_ring_holds_are_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^tape: op 1 of 3 with 8 rows, the ring holds 7$"):
        _noted(device, values("x", 8, 4))
