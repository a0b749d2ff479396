"""Seeded inputs for the kernels of single operations, and a run against the oracle on any device."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer, Device, Stream
from harness.compare import compare

F32 = NDArray[np.float32]
Kind = Literal["normal", "outliers", "zeros", "subnormal", "one NaN", "one infinity"]

KINDS: tuple[Kind, ...] = ("normal", "outliers", "zeros", "subnormal", "one NaN", "one infinity")
GRIDS = (None, 1, 3)  # as the launcher asks, and limited


def generator(case: object) -> np.random.Generator:
    """Seeded from the case alone, so that a case run by itself has the same bits."""
    return np.random.default_rng(zlib.crc32(repr(case).encode()))


def values(case: object, *shape: int, kind: Kind = "normal") -> F32:
    """Normal values of deviation 1 in which a few places, or all, are what `kind` says."""
    rng = generator((case, shape, kind))
    x = rng.standard_normal(shape).astype(np.float32)
    spots = rng.integers(0, x.size, max(1, x.size // 61))
    match kind:
        case "outliers":
            x.flat[spots] *= np.float32(2.0**20)
        case "zeros":
            x[..., : shape[-1] // 2] = 0
            x.flat[spots] = -0.0
        case "subnormal":
            x *= np.float32(2.0**-134)
        case "one NaN":
            x.flat[spots[0]] = np.nan
        case "one infinity":
            x.flat[spots[0]] = -np.inf
    return x


def run(
    device: Device,
    inputs: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, tuple[tuple[int, ...], type[np.generic]]],
    op: Callable[[Stream, dict[str, Buffer]], None],
    *,
    grid_limit: int | None = None,
) -> dict[str, NDArray[Any]]:
    """Upload the inputs, fill the outputs with bytes 0xFF, run `op` over all of them by name, read everything back."""
    buffers = {name: device.upload(np.ascontiguousarray(array), name) for name, array in inputs.items()}
    for name, (shape, dtype) in outputs.items():
        buffers[name] = device.alloc(shape, dtype, name)
        buffers[name].fill(0xFF)
    stream = device.stream(grid_limit=grid_limit)
    op(stream, buffers)
    stream.synchronize()
    results = {name: buffer.read() for name, buffer in buffers.items()}
    for buffer in buffers.values():
        device.free(buffer)
    return results


def assert_same_integers(got: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    """Equal dtype, shape and values; names the first element that differs."""
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape), f"{what}: {got.dtype} {got.shape}"
    where = np.argwhere(got != expected)
    if len(where):
        at = tuple(int(i) for i in where[0])
        raise AssertionError(f"{what}: {len(where)} of {got.size} differ, first at {at}: {got[at]} for {expected[at]}")


def assert_same(got: NDArray[Any], expected: NDArray[Any], what: str) -> None:
    """Equal by bits, a NaN as a NaN; names the first and the worst element that differ."""
    if got.dtype != np.float32:
        assert_same_integers(got, expected, what)
        return
    found = compare(got, expected)
    assert found.same, f"{what}: {found.differing} of {found.values} differ, first {found.first_difference}"
