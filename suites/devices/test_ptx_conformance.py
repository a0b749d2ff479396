"""Every function of portable.cuh and every float intrinsic: GPU and CPU twin against NumPy, by bits.

Together the two runs of this file show that a kernel computes the same on both devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, KernelArgument
from engine.devices import AccessFault, open_device
from engine.devices.host import HostDevice
from reference.floats import canonical_nan, fma32

KERNELS = Path(__file__).parent / "kernels"
Values = NDArray[Any]


class Bench:
    """Runs one kernel of a module over arrays, with a poisoned output, on each of a few grids that must agree."""

    def __init__(self, device: Device, module: str) -> None:
        self.device = device
        self._module = module

    def run(
        self,
        kernel: str,
        out: tuple[tuple[int, ...], type],
        inputs: Sequence[Values],
        *scalars: KernelArgument,
        block: int = 256,
        shared: int = 0,
    ) -> Values:
        device = self.device
        buffers = [device.upload(values, f"in{i}") for i, values in enumerate(inputs)]
        target = device.alloc(*out, "out")
        stream = device.stream(pdl=True)
        results = []
        for grid in (1, 3, 132):
            target.fill(0xFF)
            stream.launch(
                self._module, kernel, grid=grid, block=block, args=(target, *buffers, *scalars), shared=shared
            )
            results.append(target.read())
        for buffer in (*buffers, target):
            device.free(buffer)
        assert all(result.tobytes() == results[0].tobytes() for result in results)
        return results[0]


@pytest.fixture
def bench(device: Device) -> Iterator[Bench]:
    opened = open_device(device.name, kernel_dirs=(KERNELS,))
    yield Bench(opened, "conformance")
    opened.close()


def _same(got: Values, expected: Values) -> None:
    """Equal bits, every NaN equal to every other."""
    assert got.dtype == expected.dtype
    if got.dtype == np.float32:
        got, expected = canonical_nan(got).view(np.uint32), canonical_nan(expected).view(np.uint32)
    differ = np.argwhere(got != expected)
    assert got.shape == expected.shape
    assert len(differ) == 0, f"{len(differ)} differ, first at {differ[0]}"


def _bf16_from_float(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Round to nearest even by comparing the exact distances to the two neighbours; NaN is 0x7fff."""
    bits = values.view(np.uint32)
    low = bits & np.uint32(0xFFFF0000)
    high = low + np.uint32(0x10000)
    with np.errstate(invalid="ignore"):
        exact, below, above = (words.view(np.float32).astype(np.float64) for words in (bits, low, high))
        above = np.where(np.isinf(above), np.copysign(2.0**128, above), above)  # what comes after the largest finite
        down, up = np.abs(exact - below), np.abs(above - exact)
        odd = (low >> np.uint32(16)) & np.uint32(1) == 1
        chosen = np.where((up < down) | ((up == down) & odd), high, low)
    chosen = np.where(np.isinf(values), bits, chosen)
    return np.where(np.isnan(values), 0x7FFF, chosen >> np.uint32(16)).astype(np.uint16)


def _floats(seed: int, count: int) -> NDArray[np.float32]:
    """Any bit pattern, ordinary values, subnormals, and the edges."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 2**32, count, dtype=np.uint32)
    ordinary = (rng.standard_normal(count) * 10.0 ** rng.integers(-6, 7, count)).astype(np.float32)
    subnormal = (patterns & np.uint32(0x807FFFFF)).view(np.float32)
    edges = [0, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0x7F800000, 0x7FC00000]  # zero to NaN
    edges += [0x4EFFFFFF, 0x4F000000, 0xCF000000, 0xCF000001]  # around +-2^31
    edges += [0x3F000000, 0x3FC00000, 0x40200000]  # ties of the rounding to integers
    edges += [word ^ 0x80000000 for word in edges]
    mixed = np.concatenate(
        [patterns.view(np.float32), ordinary, subnormal, np.tile(np.array(edges, np.uint32).view(np.float32), 40)]
    )
    return rng.permutation(mixed)


def _around_halves() -> NDArray[np.float32]:
    """Every float16, every midpoint of two neighbours, and the float32 next to each midpoint on both sides."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    above = np.append(halves[1:], np.float32(65536))
    middle = (halves + above) / np.float32(2)  # exact: 12 bits
    points = [halves, middle, np.nextafter(middle, np.float32(0)), np.nextafter(middle, np.float32(np.inf))]
    positive = np.concatenate(points)
    return np.concatenate([positive, -positive])


def test_float16_to_float32(bench: Bench) -> None:
    every = np.arange(65536, dtype=np.uint16)
    got = bench.run("half_to_floats", ((65536,), np.float32), [every], np.int32(65536))
    _same(got, every.view(np.float16).astype(np.float32))


def test_bfloat16_to_float32(bench: Bench) -> None:
    every = np.arange(65536, dtype=np.uint16)
    got = bench.run("bf16_to_floats", ((65536,), np.float32), [every], np.int32(65536))
    _same(got, (every.astype(np.uint32) << 16).view(np.float32))


def test_float32_to_float16(bench: Bench) -> None:
    values = np.concatenate([_floats(16, 60000), _around_halves()])
    got = bench.run("floats_to_half", ((values.size,), np.uint16), [values], np.int32(values.size))
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16).view(np.uint16)
    nan = np.isnan(values)
    assert np.isnan(got[nan].view(np.float16)).all()
    _same(got[~nan], expected[~nan])


def test_float32_to_bfloat16(bench: Bench) -> None:
    values = _floats(17, 60000)
    ties = (values.view(np.uint32) & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    values = np.concatenate([values, ties.view(np.float32)])
    got = bench.run("floats_to_bf16", ((values.size,), np.uint16), [values], np.int32(values.size))
    _same(got, _bf16_from_float(values))


def test_float_intrinsics(bench: Bench) -> None:
    """Correctly rounded, subnormals kept, nothing contracted: what NUMERICS.md section 1 is built on."""
    a, b, c = (_floats(seed, 40000) for seed in (1, 2, 3))
    got = bench.run("float_operations", ((7, a.size), np.float32), [a, b, c], np.int32(a.size))
    with np.errstate(all="ignore"):
        integers = a.view(np.int32).astype(np.float32)
        expected = np.stack([a + b, a - b, a * b, a / b, np.sqrt(a), fma32(a, b, c), integers])
    assert np.count_nonzero((np.abs(expected) < np.float32(2.0**-126)) & (expected != 0)) > 1000
    _same(got, expected)


def test_a_product_and_its_sum_round_twice(device: Device) -> None:
    """Products that cancel all but their low bits: a contracted product would keep them."""
    rng = np.random.default_rng(4)
    x, factor = rng.uniform(1, 2, 5000).astype(np.float32), np.float32(1.2345678)
    y = -(x * factor)
    with np.errstate(all="ignore"):
        assert np.count_nonzero(fma32(x, factor, y)) > 4000
    sound = Bench(open_device(device.name, kernel_dirs=(KERNELS,)), "sound")
    _same(sound.run("scale_add", ((x.size,), np.float32), [x, y], np.int32(x.size), factor), np.zeros_like(x))
    sound.device.close()


def test_fused_multiply_add_rounds_once(bench: Bench) -> None:
    """Products that cancel all but their low bits: a rounded product would give zero."""
    a = (np.random.default_rng(5).integers(2**23, 2**24, 5000)).astype(np.float32)
    b = np.random.default_rng(6).integers(2**23, 2**24, 5000).astype(np.float32)
    c = -(a * b)
    got = bench.run("float_operations", ((7, a.size), np.float32), [a, b, c], np.int32(a.size))[5]
    expected = (a.astype(np.int64) * b.astype(np.int64) + c.astype(np.int64)).astype(np.float32)
    assert np.count_nonzero(expected) > 4000
    _same(got, expected)


def test_integer_intrinsics(bench: Bench) -> None:
    a, b, c = (_floats(seed, 20000) for seed in (7, 8, 9))
    got = bench.run("integer_operations", ((2, a.size), np.int32), [a, b, c], np.int32(a.size))
    with np.errstate(invalid="ignore"):  # signalling NaNs
        whole = np.rint(np.nan_to_num(a.astype(np.float64), nan=0.0))
    rounded = np.clip(whole, -(2.0**31), 2.0**31 - 1).astype(np.int64)
    bytes_a, bytes_b = (values.view(np.int8).reshape(-1, 4).astype(np.int64) for values in (a, b))
    dot = c.view(np.int32).astype(np.int64) + (bytes_a * bytes_b).sum(axis=1)
    _same(got, np.stack([rounded, dot]).astype(np.int32))


@pytest.mark.parametrize("depth", [16, 32])
def test_int8_tiles(bench: Bench, depth: int) -> None:
    rng = np.random.default_rng([depth, 8])
    tiles = 300
    a = rng.integers(-128, 128, (tiles, 16, depth)).astype(np.int8)
    b = rng.integers(-128, 128, (tiles, 8, depth)).astype(np.int8)
    c = rng.integers(-(2**31), 2**31, (tiles, 16, 8)).astype(np.int32)
    a[0], b[0] = -128, -128
    got = bench.run(f"mma_k{depth}", ((tiles, 16, 8), np.int32), [a, b, c], np.int32(tiles), block=32)
    product = np.einsum("tmk,tnk->tmn", a.astype(np.int64), b.astype(np.int64))
    _same(got, (product + c).astype(np.int32))


def test_matrices(bench: Bench) -> None:
    """Lane l gets word l % 4 of row l / 4 of each matrix; row r of matrix i is the one that lane 8i + r names."""
    rows = np.random.default_rng(15).integers(0, 2**32, (300, 32, 4), dtype=np.uint32)
    named = rows[:, ::-1].reshape(300, 4, 8 * 4)
    _same(bench.run("matrices", (named.shape, np.uint32), [rows], np.int32(300), block=32), named)


def test_async_copies(bench: Bench) -> None:
    """256 * 7 pieces, so that every piece has its neighbour i ^ 1."""
    pieces = np.random.default_rng(16).integers(0, 2**32, (1792, 4), dtype=np.uint32)
    expected = np.where((np.arange(1792) % 3 != 0)[:, None], pieces, np.uint32(0))[np.arange(1792) ^ 1]
    _same(bench.run("copied", (pieces.shape, np.uint32), [pieces], np.int32(len(pieces))), expected)


def test_the_host_copies_as_late_as_the_wait() -> None:
    pieces = np.random.default_rng(17).integers(0, 2**32, (300, 4), dtype=np.uint32)
    opened = open_device("host", kernel_dirs=(KERNELS,))
    source, out = opened.upload(pieces, "in"), opened.alloc((2, 300, 4), np.uint32, "out")
    opened.stream().launch("conformance", "copied_late", grid=1, block=256, args=(out, source, np.int32(300)))
    before = np.tile(np.array([1, 2, 3, 4], np.uint32), (300, 1))
    _same(out.read(), np.stack([before, pieces]))
    opened.close()


def test_async_copies_in_groups(bench: Bench) -> None:
    pieces = np.random.default_rng(18).integers(0, 2**32, (2, 1792, 4), dtype=np.uint32)
    got = bench.run("copied_in_groups", (pieces.shape, np.uint32), [pieces], np.int32(1792))
    _same(got, pieces[:, np.arange(1792) ^ 1])


def test_the_host_leaves_the_youngest_group() -> None:
    pieces = np.random.default_rng(19).integers(0, 2**32, (300, 4), dtype=np.uint32)
    opened = open_device("host", kernel_dirs=(KERNELS,))
    source, out = opened.upload(pieces, "in"), opened.alloc((2, 300, 4), np.uint32, "out")
    opened.stream().launch("conformance", "copied_by_group", grid=1, block=256, args=(out, source, np.int32(300)))
    _same(out.read(), np.stack([pieces, np.tile(np.array([1, 2, 3, 4], np.uint32), (300, 1))]))
    opened.close()


def _summed(device: Device, *, barrier: bool) -> None:
    """The sum of 1000 numbers by the block that arrives last, the counter at zero after each of several launches."""
    numbers = np.random.default_rng(20).integers(-1000, 1000, 1000, dtype=np.int32)
    buffers = [device.upload(array, name) for array, name in ((numbers, "in"), (np.zeros(1, np.uint32), "arrivals"))]
    out, parts = device.alloc((1,), np.int32, "out"), device.alloc((132 * 256,), np.int32, "parts")
    stream = device.stream(pdl=True)
    for grid in (1, 3, 132, 132, 2):
        args = (out, buffers[0], parts, buffers[1], np.int32(1000), np.int32(barrier))
        stream.launch("conformance", "summed_by_the_last", grid=grid, block=256, args=args)
        assert int(out.read()[0]) == numbers.sum()
        assert int(buffers[1].read()[0]) == 0
        out.fill(0xFF)
    for buffer in (*buffers, out, parts):
        device.free(buffer)


def test_the_last_block_sees_what_all_wrote(bench: Bench) -> None:
    _summed(bench.device, barrier=True)


@pytest.mark.parametrize("barrier", [True, False])
def test_the_checker_knows_what_blocks_hand_over(barrier: bool) -> None:
    opened = HostDevice(kernel_dirs=(KERNELS,), mode="check")
    if barrier:
        _summed(opened, barrier=True)
    else:
        with pytest.raises(AccessFault, match="summed_by_the_last") as caught:
            _summed(opened, barrier=False)
        assert any("race: read after write" in line and "'parts'" in line for line in caught.value.reports)
    opened.close()


def test_butterfly_sum(bench: Bench) -> None:
    values = np.random.default_rng(32).standard_normal((500, 32)).astype(np.float32)
    values *= np.float32(10) ** np.random.default_rng(33).integers(-4, 5, values.shape).astype(np.float32)
    expected = values
    for mask in (16, 8, 4, 2, 1):
        expected = expected + expected[:, np.arange(32) ^ mask]
    got = bench.run("butterfly_sums", ((500, 32), np.float32), [values], np.int32(500), block=32)
    _same(got, expected)
    assert not np.array_equal(expected[:, 0], values.sum(axis=1, dtype=np.float64).astype(np.float32))


def test_warp_reductions_of_integers(bench: Bench) -> None:
    values = np.random.default_rng(34).integers(-(2**25), 2**25, (500, 32), dtype=np.int32)
    settled = np.array([7], np.int32)
    got = bench.run("warp_reductions", ((2, 500, 32), np.int32), [values, settled], np.int32(500), block=32)
    expected = np.stack([values.max(axis=1), values.sum(axis=1, dtype=np.int32)]) + 7
    _same(got, np.repeat(expected[:, :, None], 32, axis=2))


def test_streaming_loads_and_dynamic_shared_memory(bench: Bench) -> None:
    words = np.random.default_rng(4).integers(0, 2**32, (1000, 4), dtype=np.uint32)
    got = bench.run("copy_streaming", ((1000, 4), np.uint32), [words], np.int32(1000), shared=256 * 16)
    _same(got, words)


def _scrambled(value: NDArray[np.uint32]) -> NDArray[np.uint32]:
    value = (value ^ (value >> np.uint32(16))) * np.uint32(0x7FEB352D)
    value = (value ^ (value >> np.uint32(15))) * np.uint32(0x846CA68B)
    return value ^ (value >> np.uint32(16))


def _random_pieces(count: int, seed: int) -> NDArray[np.uint32]:
    word = _scrambled(_scrambled(np.arange(count, dtype=np.uint32) ^ np.uint32(seed)))
    return np.stack([word, *(_scrambled(word + np.uint32(i)) for i in (1, 2, 3))], axis=1)


def test_ceilings_read_every_word(bench: Bench) -> None:
    """The kernels that measure the machine do the work that they are credited with."""
    ceilings = Bench(bench.device, "ceilings")
    pieces = 256 * 8 * 5
    data = ceilings.run("fill_random", ((pieces, 4), np.uint32), [], np.int64(pieces), np.uint32(7))
    _same(data, _random_pieces(pieces, 7))
    device = bench.device
    total, source = device.upload(np.zeros(1, np.uint32), "sum"), device.upload(data, "data")
    device.stream().launch("ceilings", "read_all", grid=2, block=256, args=(total, source, np.int64(pieces)))
    assert int(total.read()[0]) == int(data.sum(dtype=np.uint64)) % 2**32


def test_the_canary_copies_every_word(bench: Bench) -> None:
    ceilings = Bench(bench.device, "ceilings")
    data = _random_pieces(256 * 4 * 5, 3)
    _same(ceilings.run("copy_all", (data.shape, np.uint32), [data], np.int64(len(data))), data)


def test_the_clocks_of_a_multiprocessor_move_on(device: Device) -> None:
    """Cycles and nanoseconds of the multiprocessors that got a block grow; the rows of all others stay as they were."""
    count, stream = device.multiprocessors, device.stream(pdl=True)
    looks = []
    for _ in range(2):
        out = device.upload(np.full((count + 1, 2), -1, np.int64), "clocks")
        stream.launch("ceilings", "show_clocks", grid=count, block=32, args=(out, np.int32(count)))
        looks.append(np.asarray(out.read(), np.int64))
    first, second = looks
    assert (first[-1] == -1).all()
    met = (first[:, 0] >= 0) & (second[:, 0] >= 0)
    assert met.any()
    assert (second[met] > first[met]).all()


def test_ceilings_multiply_every_tile(bench: Bench) -> None:
    tiles, rounds = 9, 3
    ceilings = Bench(bench.device, "ceilings")
    got = ceilings.run("mma_peak", ((tiles,), np.int32), [], np.int32(tiles), np.int32(rounds), np.uint32(2))
    words = _random_pieces(tiles * 32, 2).reshape(tiles, 8, 4, 4)  # (tile, group, t, register)
    right = words[..., :2] ^ words[..., 2:]
    bytes_of = {"left": words, "right": right}
    left, columns = (np.ascontiguousarray(bytes_of[k]).view(np.int8).astype(np.int64) for k in ("left", "right"))
    left = left.reshape(tiles, 8, 4, 4, 4)  # (tile, group, t, register, byte)
    columns = columns.reshape(tiles, 8, 4, 2, 4)
    low = np.concatenate([left[:, :, :, 0], left[:, :, :, 1]], axis=1).reshape(tiles, 16, 16)  # k 0..15
    high = np.concatenate([left[:, :, :, 2], left[:, :, :, 3]], axis=1).reshape(tiles, 16, 16)  # k 16..31
    product = np.einsum("tmk,tnk->tmn", low, columns[:, :, :, 0].reshape(tiles, 8, 16))
    product += np.einsum("tmk,tnk->tmn", high, columns[:, :, :, 1].reshape(tiles, 8, 16))
    start = sum(range(8)) * 128  # chain c starts at c in each of the 128 elements
    _same(got, (product.sum(axis=(1, 2)) * 8 * rounds + start).astype(np.int32))
