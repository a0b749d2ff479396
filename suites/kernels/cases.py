"""A run of a kernel on any device and its comparison with the oracle; the inputs are harness/kernel_values.py's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer, Device, Stream
from harness.compare import compare
from harness.kernel_values import F32, KINDS, Kind, generator, values

__all__ = ["F32", "GRIDS", "KINDS", "Kind", "assert_same", "assert_same_integers", "generator", "run", "values"]

GRIDS = (None, 1, 3)  # as the launcher asks, and limited


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
