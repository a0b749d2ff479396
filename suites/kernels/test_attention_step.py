"""attention_step on every device against reference/ops/attention_step.py, by bits: results and caches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device, LaunchError, Stream
from engine.devices.host import HostDevice
from engine.devices.host.stream import HostStream
from engine.ops.attention import Scratch, attention_scratch
from engine.ops.attention_step import NewHeads, attention_step
from engine.ops.quantize import Quantized
from reference.ops import attention_step as oracle
from reference.ops import quantize
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of

EPS = 1e-6
INPUTS = ("q", "k", "v", "q_weight", "k_weight", "cos", "sin")
CACHES = ("keys", "values")


@dataclass(frozen=True, kw_only=True)
class Case:
    """Sizes of a step. Cells of the cache from `position` on hold NaN."""

    heads: int
    kv_heads: int
    head_dim: int
    position: int
    past: int = 2  # cells after that of the position
    pairs: int | None = None
    kv: type[np.floating[Any]] = np.float16

    def __str__(self) -> str:
        return f"{self.heads}/{self.kv_heads}x{self.head_dim}-at-{self.position}-{np.dtype(self.kv)}"

    @property
    def context(self) -> int:
        return self.position + 1 + self.past

    @property
    def scale(self) -> np.float32:
        return np.float32(1 / np.sqrt(np.float64(self.head_dim)))

    def tensors(self) -> dict[str, NDArray[Any]]:
        pairs = self.head_dim // 2 if self.pairs is None else self.pairs
        caches = {name: values(name, self.kv_heads, self.context, self.head_dim).astype(self.kv) for name in CACHES}
        for cache in caches.values():
            cache[:, self.position :] = np.nan
        return {
            "q": values("q", 1, self.heads, self.head_dim),
            "k": values("k", 1, self.kv_heads, self.head_dim),
            "v": values("v", 1, self.kv_heads, self.head_dim),
            "q_weight": values("q_weight", self.head_dim),
            "k_weight": values("k_weight", self.head_dim),
            "cos": values("cos", self.context, pairs),
            "sin": values("sin", self.context, pairs),
            "position": np.array([self.position], np.int32),
            "arrivals": np.zeros(self.heads, np.int32),
            **caches,
        }


def _launch(stream: Stream, b: dict[str, Buffer], scale: np.float32, out: Buffer | Quantized) -> None:
    new = NewHeads(q=b["q"], k=b["k"], v=b["v"], q_weight=b["q_weight"], k_weight=b["k_weight"])
    attention_step(
        stream, new, b["cos"], b["sin"], b["position"], eps=EPS, scale=scale, keys=b["keys"], values=b["values"],
        scratch=Scratch.from_arena(b), arrivals=b["arrivals"], out=out,
    )  # fmt: skip


def _check(
    device: Device, case: Case, tensors: dict[str, NDArray[Any]] | None = None, *, grid_limit: int | None = None
) -> F32:
    """Both forms of the result, one after the other over the same cache; returns the expected float32."""
    tensors = case.tensors() if tensors is None else tensors
    cols = case.heads * case.head_dim
    scratch = attention_scratch(1, case.heads, case.head_dim, case.context)
    shapes = {name: (shape, np.float32) for name, shape in scratch.items()}

    def op(stream: Stream, b: dict[str, Buffer]) -> None:
        _launch(stream, b, case.scale, b["out"])
        _launch(stream, b, case.scale, rows_of(b))

    outs = {"out": ((1, cols), np.float32), **outputs(1, cols)}
    results = run(device, tensors, {**shapes, **outs}, op, grid_limit=grid_limit)
    caches = {name: tensors[name].copy() for name in CACHES}
    q, k, v, q_weight, k_weight, cos, sin = (tensors[name] for name in INPUTS)
    with np.errstate(all="ignore"):
        expected = oracle.exact(
            q, k, v, q_weight, k_weight, cos, sin, case.position, eps=EPS, scale=case.scale,
            keys=caches["keys"], values=caches["values"],
        ).reshape(1, cols)  # fmt: skip
    for name, wanted in caches.items():
        assert_same(results[name].astype(np.float32), wanted.astype(np.float32), f"attention_step {name} {case}")
    assert_same(results["out"], expected, f"attention_step {case}")
    assert_same_quantized(results, quantize.exact(expected), f"attention_step {case}")
    assert not results["arrivals"].any()
    return expected


def _cases() -> list[Case]:
    """Splits at, before and past their borders; groups from 1 to 9; heads of every width class; both caches."""
    places = (0, 1, 63, 64, 129, 254, 255, 256, 257, 511, 512, 600, 85, 340)
    widths = (128, 32, 64, 96, 256, 128, 160)
    return [
        Case(
            heads=(1 + n % 9) * (1 + n % 3), kv_heads=1 + n % 3, head_dim=widths[n % 7], position=position,
            kv=(np.float16, np.float32)[(n // 7 + n) % 2],
        )
        for n, position in enumerate(places)
    ]  # fmt: skip


QWEN = Case(heads=32, kv_heads=8, head_dim=128, position=1500)  # 192 splits of queries: tiles of four on any device


@pytest.mark.parametrize("case", [*_cases(), QWEN, replace(QWEN, position=200)], ids=str)
def test_shapes(device: Device, case: Case) -> None:
    expected = _check(device, case)
    assert np.isfinite(expected).all()


GRID_CASE = Case(heads=12, kv_heads=2, head_dim=64, position=700)
# More than twice as many splits as find their factors together, and not a multiple of those combined together.
MANY_SPLITS = Case(heads=4, kv_heads=1, head_dim=32, position=65 * 256 + 3, kv=np.float32)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("case", [GRID_CASE, replace(GRID_CASE, position=255), MANY_SPLITS], ids=str)
def test_forced_grids(device: Device, case: Case, grid_limit: int | None) -> None:
    _check(device, case, grid_limit=grid_limit)


@pytest.mark.parametrize("grid_limit", [8, 16])
@pytest.mark.parametrize("position", [5 * 256 - 1, 5 * 256, 1500])
def test_a_block_walks_the_splits_of_its_queries(device: Device, position: int, grid_limit: int) -> None:
    """Eight key heads: all splits of one to a block, or every other. The last has the key of the step, or only that."""
    for kv in (np.float16, np.float32):
        _check(device, replace(QWEN, position=position, kv=kv), grid_limit=grid_limit)


WIDE = Case(heads=32 * 40, kv_heads=64, head_dim=32, position=258)  # more items than any device has multiprocessors


@pytest.mark.parametrize("case", [WIDE, replace(WIDE, position=100), replace(WIDE, kv=np.float32)], ids=str)
def test_queries_of_a_key_head_together(device: Device, case: Case) -> None:
    """20 queries a key head, four at a time."""
    assert case.heads > device.multiprocessors
    _check(device, case)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["q", "k", "v"])
def test_values_of_the_step(device: Device, name: str, kind: Kind) -> None:
    tensors = GRID_CASE.tensors()
    tensors[name] = values((name, kind), *tensors[name].shape, kind=kind)
    _check(device, GRID_CASE, tensors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("kv", [np.float32, np.float16])
def test_values_of_the_cache(device: Device, name: str, kind: Kind, kv: type[np.floating[Any]]) -> None:
    case = replace(GRID_CASE, kv=kv)
    tensors = case.tensors()
    with np.errstate(over="ignore"):
        seen = values((name, kind), case.kv_heads, case.position, case.head_dim, kind=kind).astype(kv)
    tensors[name][:, : case.position] = seen
    _check(device, case, tensors)


@pytest.mark.parametrize("name", CACHES)
@pytest.mark.parametrize("at", [0, 255, 256, 511, 512, 699, 700, 701])
def test_a_nan_shows_exactly_where_it_is_visible(device: Device, name: str, at: int) -> None:
    """Before the position: by the heads of its group. That of the position is written, those after it are not read."""
    tensors = GRID_CASE.tensors()
    tensors[name][1, at] = np.nan
    expected = _check(device, GRID_CASE, tensors).reshape(2, 6, 64)
    assert np.isfinite(expected[0]).all()
    assert np.isnan(expected[1]).all() if at < GRID_CASE.position else np.isfinite(expected[1]).all()


def test_many_splits(device: Device) -> None:
    """The largest score lies among the first splits and counts for those after them."""
    tensors = MANY_SPLITS.tensors()
    tensors["keys"][0, 1000] = 20 * tensors["q"][0, 0]
    _check(device, MANY_SPLITS, tensors)


def test_far_scores(device: Device) -> None:
    """Scores that differ by more than exp can hold, within a split and from split to split, in both directions."""
    tensors = GRID_CASE.tensors()
    ramp = np.linspace(-90, 90, 700)[:, None] * np.ones(64)
    for head, sign in enumerate((1, -1)):
        tensors["keys"][head, :700] = (sign * ramp).astype(np.float16)
    assert np.isfinite(_check(device, GRID_CASE, tensors)).all()


def test_part_of_a_head_turns(device: Device) -> None:
    _check(device, Case(heads=6, kv_heads=2, head_dim=96, position=9, pairs=20))


def test_the_last_cell_of_the_cache(device: Device) -> None:
    _check(device, Case(heads=4, kv_heads=2, head_dim=64, position=255, past=0))


def test_a_position_outside_the_cache_is_passed_over(device: Device) -> None:
    case = Case(heads=2, kv_heads=1, head_dim=32, position=3)
    for place in (-1, case.context):
        tensors = {**case.tensors(), "position": np.array([place], np.int32)}
        scratch = attention_scratch(1, case.heads, case.head_dim, case.context)
        shapes = {name: (shape, np.float32) for name, shape in scratch.items()}
        results = run(
            device, tensors, {**shapes, "out": ((1, 64), np.float32)},
            lambda stream, b: _launch(stream, b, case.scale, b["out"]),
        )  # fmt: skip
        assert (results["out"].view(np.uint32) == 0xFFFFFFFF).all()
        for name in CACHES:
            assert results[name].tobytes() == tensors[name].tobytes()


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostDevice]:
    """A host device with room for whole splits. All that is launched on it must be the kernel that uses that."""
    kernels, launch = set[str](), HostStream.launch

    def note(stream: HostStream, module: str, kernel: str, **options: Any) -> None:
        kernels.add(kernel)
        launch(stream, module, kernel, **options)

    monkeypatch.setattr(HostStream, "launch", note)
    opened = HostDevice(shared_limit=227 * 1024, multiprocessors=16)
    yield opened
    opened.close()
    assert kernels == {"attention_step_f16_128_whole"}


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("position", [0, 63, 64, 136, 255, 256, 700, 1023])
@pytest.mark.parametrize("sizes", [(8, 2, 128), (2, 1, 96), (1, 1, 32), (5, 1, 64)], ids=str)
def test_whole_splits(whole: HostDevice, sizes: tuple[int, int, int], position: int, grid_limit: int | None) -> None:
    heads, kv_heads, head_dim = sizes
    case = Case(heads=heads, kv_heads=kv_heads, head_dim=head_dim, position=position)
    _check(whole, case, grid_limit=grid_limit)


@pytest.mark.parametrize("position", [8 * 256 - 1, 8 * 256, 17 * 256 + 3])
def test_batches_of_whole_splits(whole: HostDevice, position: int) -> None:
    _check(whole, Case(heads=2, kv_heads=1, head_dim=32, position=position))


def test_schedules(host_variant: HostDevice) -> None:
    for case in (
        Case(heads=4, kv_heads=1, head_dim=128, position=300),
        Case(heads=6, kv_heads=2, head_dim=32, position=300),
        Case(heads=3, kv_heads=1, head_dim=64, position=5, kv=np.float32),
        Case(heads=160, kv_heads=32, head_dim=32, position=260),
    ):
        for limit in (None, 2):
            _check(host_variant, case, grid_limit=limit)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"q": (1, 3, 32)}, "3 heads over 2 key heads, expected a multiple"),
        ({"head_dim": 48}, "head_dim is 48, expected a multiple of 32 up to 256"),
        ({"head_dim": 288}, "head_dim is 288, expected a multiple of 32 up to 256"),
        ({"q": (2, 4, 32)}, r"q is float32 \(2, 4, 32\), expected float32 \(1, any, any\)"),
        ({"cos": (5, 16), "sin": (5, 16)}, "tables of 5 positions and 16 pairs for 6 keys of 32 values"),
        ({"cos": (6, 17), "sin": (6, 17)}, "tables of 6 positions and 17 pairs for 6 keys of 32 values"),
        ({"arrivals": (3,)}, r"arrivals is int32 \(3,\), expected at least 4 int32 values"),
        ({"split_sums": (1, 3, 1)}, r"split_sums is float32 \(1, 3, 1\), expected at least 4 float32 values"),
    ],
)
def test_what_does_not_fit_is_refused(device: Device, changes: dict[str, Any], reason: str) -> None:
    case = Case(heads=4, kv_heads=2, head_dim=changes.get("head_dim", 32), position=3)
    tensors = case.tensors()
    scratch = attention_scratch(1, case.heads, case.head_dim, case.context)
    shapes: dict[str, tuple[tuple[int, ...], type[np.generic]]] = {n: (s, np.float32) for n, s in scratch.items()}
    for name, shape in changes.items():
        if name in tensors:
            tensors[name] = np.zeros(shape, tensors[name].dtype)
        elif name in shapes:
            shapes[name] = (shape, np.float32)
    with pytest.raises(LaunchError, match=f"^attention_step: {reason}$"):
        run(
            device, tensors, {**shapes, "out": ((1, case.heads * case.head_dim), np.float32)},
            lambda stream, b: _launch(stream, b, case.scale, b["out"]),
        )  # fmt: skip
