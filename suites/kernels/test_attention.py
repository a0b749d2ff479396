"""attention on every device against reference/ops/attention.py, by bits: few rows, many rows, both caches."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.launch_log import LaunchLog
from engine.ops.attention import SPLIT_ROWS, Scratch, Variant, attention, attention_scratch
from reference.ops import attention as oracle
from reference.ops.quantize import exact as quantize
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, generator, run, values
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of

VARIANTS: tuple[Variant, ...] = ("split", "prefill")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes of a step. Cells of the cache past the last row hold NaN."""

    rows: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    position: int
    kv: type[np.floating[Any]] = np.float16

    def __str__(self) -> str:
        sizes = f"{self.rows}x{self.heads}/{self.kv_heads}x{self.head_dim}"
        return f"{sizes}-at-{self.position}-of-{self.context}-{np.dtype(self.kv)}"

    def tensors(self, kind: Kind = "normal") -> dict[str, NDArray[Any]]:
        cache = (self.kv_heads, self.context, self.head_dim)
        keys, rows_of_values = (values((name, self), *cache).astype(self.kv) for name in ("keys", "values"))
        for unread in (keys, rows_of_values):
            unread[:, self.position + self.rows :] = np.nan
        q = values(("q", self), self.rows, self.heads, self.head_dim, kind=kind)
        return {"q": q, "keys": keys, "values": rows_of_values, "position": np.array([self.position], np.int32)}

    @property
    def scale(self) -> np.float32:
        return np.float32(1 / np.sqrt(np.float64(self.head_dim)))

    def expected(self, tensors: dict[str, NDArray[Any]]) -> F32:
        out = oracle.exact(tensors["q"], tensors["keys"], tensors["values"], self.position, scale=self.scale)
        return out.reshape(self.rows, -1)


def _attended(
    device: Device, case: Case, tensors: dict[str, NDArray[Any]], variant: Variant, *, grid_limit: int | None = None
) -> F32:
    shapes = attention_scratch(case.rows, case.heads, case.head_dim, case.context)
    scratch = {name: ((max(case.rows, SPLIT_ROWS), *shape[1:]), np.float32) for name, shape in shapes.items()}
    results = run(
        device,
        tensors,
        {**scratch, "out": ((case.rows, case.heads * case.head_dim), np.float32)},
        lambda stream, b: attention(
            stream, b["q"], b["keys"], b["values"], b["position"],
            scale=case.scale, scratch=Scratch.from_arena(b), out=b["out"], variant=variant,
        ),
        grid_limit=grid_limit,
    )  # fmt: skip
    return results["out"]


def _check(device: Device, case: Case, tensors: dict[str, NDArray[Any]], *, grid_limit: int | None = None) -> F32:
    expected = case.expected(tensors)
    for variant in VARIANTS:
        got = _attended(device, case, tensors, variant, grid_limit=grid_limit)
        assert_same(got, expected, f"attention {variant} {case}")
    return expected


def _cases() -> list[Case]:
    """Splits and tiles at, before and past their borders; every group from 1 to 9; heads of every width class."""
    found = []
    for rows in range(1, 18):
        context = (255, 256, 257, 513)[rows % 4]
        position = (0, context - rows, min(255 - rows // 2, context - rows))[rows % 3]
        group, kv_heads = 1 + rows % 9, 1 + rows % 3
        head_dim = (64, 32, 128, 34, 80, 66, 256, 130, 96)[rows % 9]
        found.append(
            Case(
                rows=rows, heads=group * kv_heads, kv_heads=kv_heads, head_dim=head_dim, context=context,
                position=position, kv=(np.float16, np.float32)[rows % 2],
            )
        )  # fmt: skip
    for kv in (np.float16, np.float32):
        found += [
            Case(rows=1, heads=2, kv_heads=1, head_dim=32, context=1, position=0, kv=kv),
            Case(rows=1, heads=4, kv_heads=2, head_dim=64, context=255, position=254, kv=kv),
            Case(rows=1, heads=8, kv_heads=1, head_dim=34, context=256, position=255, kv=kv),
            Case(rows=1, heads=5, kv_heads=1, head_dim=128, context=257, position=256, kv=kv),
            Case(rows=1, heads=4, kv_heads=1, head_dim=72, context=513, position=512, kv=kv),
            Case(rows=2, heads=40, kv_heads=1, head_dim=32, context=300, position=280, kv=kv),
            Case(rows=33, heads=2, kv_heads=2, head_dim=254, context=300, position=240, kv=kv),
            Case(rows=65, heads=4, kv_heads=2, head_dim=36, context=600, position=500, kv=kv),
        ]
    return found


FLOOR = [
    Case(rows=rows, heads=8, kv_heads=2, head_dim=128, context=position + rows + 1, position=position, kv=kv)
    for kv, position, rows in (
        (np.float32, 0, 3), (np.float32, 0, 64), (np.float32, 100, 17), (np.float32, 3000, 20),
        (np.float16, 0, 5), (np.float16, 0, 64), (np.float16, 256, 17), (np.float16, 3500, 20),
    )
]  # fmt: skip


@pytest.mark.parametrize("case", [*_cases(), *FLOOR], ids=str)
def test_shapes(device: Device, case: Case) -> None:
    expected = _check(device, case, case.tensors())
    assert np.isfinite(expected).all()


GRID_CASE = Case(rows=9, heads=6, kv_heads=2, head_dim=64, context=700, position=505)


@pytest.mark.parametrize("grid_limit", GRIDS)
def test_forced_grids(device: Device, grid_limit: int | None) -> None:
    _check(device, GRID_CASE, GRID_CASE.tensors(), grid_limit=grid_limit)


# Of every second round the tiles come backwards; the last round is not a whole one.
TILES = Case(rows=150, heads=50, kv_heads=50, head_dim=32, context=150, position=0)


def test_more_tiles_than_multiprocessors(device: Device) -> None:
    assert TILES.kv_heads * -(-TILES.rows // 64) > device.multiprocessors
    got = _attended(device, TILES, tensors := TILES.tensors(), "prefill")
    assert_same(got, TILES.expected(tensors), f"attention prefill {TILES}")


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_q(device: Device, kind: Kind) -> None:
    """What is not finite in one head of one row stays there."""
    tensors = GRID_CASE.tensors(kind)
    expected = _check(device, GRID_CASE, tensors).reshape(9 * 6, 64)
    assert (~np.isfinite(expected).all(axis=1)).sum() == kind.startswith("one")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["keys", "values"])
@pytest.mark.parametrize("kv", [np.float32, np.float16])
def test_values_of_the_cache(device: Device, name: str, kind: Kind, kv: type[np.floating[Any]]) -> None:
    case = replace(GRID_CASE, kv=kv)
    tensors = case.tensors()
    seen = case.position + case.rows
    with np.errstate(over="ignore"):
        tensors[name][:, :seen] = values((name, kind), case.kv_heads, seen, case.head_dim, kind=kind).astype(kv)
    _check(device, case, tensors)


@pytest.mark.parametrize("name", ["keys", "values"])
@pytest.mark.parametrize("at", [0, 255, 256, 505, 510, 513])
def test_a_nan_shows_exactly_where_it_is_visible(device: Device, name: str, at: int) -> None:
    """Position `at` of one key head is seen by the rows from at - 505 on, and by the heads of its group."""
    case = replace(GRID_CASE, context=514)
    tensors = case.tensors()
    tensors[name][1, at] = np.nan
    expected = _check(device, case, tensors).reshape(9, 2, 3, 64)
    sees = np.arange(9) >= at - case.position
    assert np.isnan(expected[sees, 1]).all()
    assert np.isfinite(expected[~sees]).all()
    assert np.isfinite(expected[:, 0]).all()


def test_far_scores(device: Device) -> None:
    """Scores that differ by more than exp can hold, within a split and from split to split, in both directions."""
    tensors = GRID_CASE.tensors()
    ramp = np.linspace(-30, 30, 700)[:, None] * np.ones(64)
    for head, sign in enumerate((1, -1)):
        tensors["keys"][head, :514] = (sign * ramp[:514]).astype(np.float16)
    expected = _check(device, GRID_CASE, tensors)
    assert np.isfinite(expected).all()


def test_exp32_of_every_difference(device: Device) -> None:
    """Key j has score x_j, at most 0, and the value 1 in column j alone: each column shows its own exp32(x_j)."""
    case = Case(rows=1, heads=16, kv_heads=16, head_dim=256, context=256, position=255, kv=np.float32)
    x = np.linspace(-90, 0, 16 * 256).astype(np.float32)
    x[:4] = np.nextafter(np.float32(-87), np.float32(0)), -87, np.nextafter(np.float32(-87), np.float32(-88)), -0.0
    x = generator("shuffled").permutation(x).reshape(16, 256)
    x[:, 255] = 0
    tensors = case.tensors()
    tensors["q"][:] = np.eye(256, dtype=np.float32)[0]
    tensors["keys"][:] = np.eye(256, dtype=np.float32)[0] * (x * np.float32(16))[:, :, None]  # the scale is 1 / 16
    tensors["values"][:] = np.eye(256, dtype=np.float32)
    expected = _check(device, case, tensors).reshape(16, 256)
    assert np.array_equal(expected == 0, x < -87)


def test_infinite_scores(device: Device) -> None:
    """A score of +infinity gives NaN; a split in which all are -infinity too."""
    tensors = GRID_CASE.tensors()
    tensors["q"][:] = 1
    tensors["keys"][0, :256] = -np.inf
    tensors["keys"][1, 300] = np.inf
    assert np.isnan(_check(device, GRID_CASE, tensors)).all()


def test_a_row_of_a_batch_is_the_row_alone(device: Device) -> None:
    """Row by row through "auto", which takes the other way, and in two pieces."""
    case = Case(rows=19, heads=6, kv_heads=2, head_dim=64, context=600, position=250)
    tensors = case.tensors()
    together = _attended(device, case, tensors, "auto")
    pieces = [(row, row + 1) for row in range(case.rows)] + [(0, 7), (7, case.rows)]
    for start, stop in pieces:
        part = replace(case, rows=stop - start, position=case.position + start)
        position = np.array([part.position], np.int32)
        got = _attended(device, part, {**tensors, "q": tensors["q"][start:stop], "position": position}, "auto")
        assert_same(got, together[start:stop], f"rows {start} .. {stop - 1}")


def _quantized(device: Device, case: Case, *, grid_limit: int | None = None) -> None:
    tensors = case.tensors()
    shapes = attention_scratch(case.rows, case.heads, case.head_dim, case.context)
    scratch = {name: (shape, np.float32) for name, shape in shapes.items()}
    got = run(
        device,
        tensors,
        {**scratch, **outputs(case.rows, case.heads * case.head_dim)},
        lambda stream, b: attention(
            stream, b["q"], b["keys"], b["values"], b["position"], scale=case.scale, scratch=Scratch.from_arena(b),
            out=rows_of(b),
        ),
        grid_limit=grid_limit,
    )  # fmt: skip
    assert_same_quantized(got, quantize(case.expected(tensors)), f"attention in 8 bits {case}")


@pytest.mark.parametrize("grid_limit", GRIDS)
def test_8_bit_form(device: Device, grid_limit: int | None) -> None:
    """With and without pads behind the heads, over one split and over several."""
    for case in (
        Case(rows=2, heads=2, kv_heads=1, head_dim=32, context=40, position=3),
        Case(rows=8, heads=4, kv_heads=2, head_dim=64, context=300, position=250),
        Case(rows=5, heads=3, kv_heads=1, head_dim=96, context=600, position=540, kv=np.float32),
        Case(rows=1, heads=2, kv_heads=2, head_dim=256, context=256, position=255),
    ):
        _quantized(device, case, grid_limit=grid_limit)


def test_8_bit_form_of_many_rows_or_odd_heads_is_refused(device: Device) -> None:
    for rows, head_dim in ((SPLIT_ROWS + 1, 32), (2, 48)):
        case = Case(rows=rows, heads=2, kv_heads=1, head_dim=head_dim, context=40, position=3)
        with pytest.raises(
            LaunchError, match=f"^attention: no 8-bit form of {rows} rows of heads of {head_dim} values$"
        ):
            _quantized(device, case)


@pytest.mark.parametrize(
    ("rows", "head_dim", "prefill"),
    [
        (1, 32, ""),
        (SPLIT_ROWS, 128, ""),
        (SPLIT_ROWS + 1, 32, "attention_prefill_f16_128"),
        (SPLIT_ROWS + 1, 128, "attention_prefill_f16_128_whole"),
    ],
    ids=["1", "16", "17", "17x128"],
)
def test_auto_takes_the_way_for_the_rows(device: Device, rows: int, head_dim: int, prefill: str) -> None:
    case = Case(rows=rows, heads=2, kv_heads=1, head_dim=head_dim, context=40, position=3)
    log = LaunchLog(device.stream())
    buffers = {name: device.upload(array, name) for name, array in case.tensors().items()}
    for name, shape in attention_scratch(rows, 2, head_dim, 40).items():
        buffers[name] = device.alloc(shape, np.float32, name)
    buffers["out"] = device.alloc((rows, 2 * head_dim), np.float32, "out")
    attention(
        log, buffers["q"], buffers["keys"], buffers["values"], buffers["position"],
        scale=case.scale, scratch=Scratch.from_arena(buffers), out=buffers["out"],
    )  # fmt: skip
    assert log.executed() == ({prefill: 1} if prefill else {"attention_split_f16": 1, "attention_combine": 1})
    for buffer in buffers.values():
        device.free(buffer)


def test_schedules(host_variant: HostDevice) -> None:
    for case in (
        Case(rows=3, heads=6, kv_heads=2, head_dim=34, context=300, position=255),
        Case(rows=9, heads=2, kv_heads=1, head_dim=64, context=520, position=505, kv=np.float32),
    ):
        for limit in (None, 1):
            _check(host_variant, case, case.tensors(), grid_limit=limit)


@pytest.mark.parametrize(
    ("heads", "head_dim", "reason"),
    [
        (3, 32, "3 heads over 2 key heads, expected a multiple"),
        (2, 33, "head_dim is 33, expected an even number up to 256"),
        (2, 258, "head_dim is 258, expected an even number up to 256"),
    ],
)
def test_impossible_sizes_are_refused(device: Device, heads: int, head_dim: int, reason: str) -> None:
    case = Case(rows=1, heads=heads, kv_heads=2, head_dim=head_dim, context=4, position=0)
    with pytest.raises(LaunchError, match=f"^attention: {reason}$"):
        _attended(device, case, case.tensors(), "auto")


def test_scratch_for_fewer_rows_is_refused(device: Device) -> None:
    case = Case(rows=SPLIT_ROWS + 1, heads=2, kv_heads=2, head_dim=32, context=4, position=0)
    shapes = attention_scratch(case.rows, 2, 32, 4)
    assert shapes["split_maxima"] == (SPLIT_ROWS, 2, 1)
    message = r"^attention: split_outputs is float32 \(16, 2, 1, 32\), expected at least 1088 float32 values$"
    with pytest.raises(LaunchError, match=message):
        run(
            device,
            case.tensors(),
            {**{name: (shape, np.float32) for name, shape in shapes.items()}, "out": ((17, 64), np.float32)},
            lambda stream, b: attention(
                stream, b["q"], b["keys"], b["values"], b["position"],
                scale=case.scale, scratch=Scratch.from_arena(b), out=b["out"], variant="split",
            ),
        )  # fmt: skip
