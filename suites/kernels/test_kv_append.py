"""kv_append on every device against reference/ops/kv_append.py, by bits, the cells it must not touch included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.kv_append import kv_append
from reference.ops import kv_append as oracle
from suites.kernels.cases import F32, GRIDS, KINDS, Kind, assert_same, run, values

TYPES = (np.float32, np.float16)
# rows, kv_heads, head_dim, context, position
SHAPES = (
    (1, 1, 32, 1, 0),
    (3, 2, 64, 9, 0),
    (17, 8, 128, 60, 43),
    (5, 3, 34, 100, 37),
    (64, 1, 96, 70, 3),
    (2, 4, 256, 5, 3),
)
HALF_EDGES = [
    0.0, -0.0, 65504.0, 65519.996, 65520.0, -65520.0, 1e30, np.inf, -np.inf, np.nan, 2.0**-14, 2.0**-24, 2.0**-25,
    2.0**-25 * 1.0000001, 3 * 2.0**-25, 2.0**-15 * 1.0003, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 1e-45,
]  # fmt: skip


def _appended(
    device: Device, k: F32, v: F32, position: int, cache: NDArray[Any], *, grid_limit: int | None = None
) -> tuple[F32, F32]:
    """Both caches afterwards, as float32; before, keys hold `cache` and values its negative."""
    results = run(
        device,
        {"k": k, "v": v, "position": np.array([position], np.int32), "keys": cache, "values": -cache},
        {},
        lambda stream, b: kv_append(stream, b["k"], b["v"], b["position"], keys=b["keys"], values=b["values"]),
        grid_limit=grid_limit,
    )
    return results["keys"].astype(np.float32), results["values"].astype(np.float32)


def _check(
    device: Device, k: F32, v: F32, position: int, cache: NDArray[Any], what: str, *, grid_limit: int | None = None
) -> None:
    keys, rows_of_values = cache.copy(), -cache
    oracle.exact(k, v, position, keys=keys, values=rows_of_values)
    got = _appended(device, k, v, position, cache, grid_limit=grid_limit)
    assert_same(got[0], keys.astype(np.float32), f"{what}, keys")
    assert_same(got[1], rows_of_values.astype(np.float32), f"{what}, values")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(
    device: Device, shape: tuple[int, int, int, int, int], dtype: type[np.generic], grid_limit: int | None
) -> None:
    rows, kv_heads, head_dim, context, position = shape
    k, v = values("k", rows, kv_heads, head_dim), values("v", rows, kv_heads, head_dim)
    cache = values("cache", kv_heads, context, head_dim).astype(dtype)
    _check(device, k, v, position, cache, f"kv_append {shape}", grid_limit=grid_limit)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind, dtype: type[np.generic]) -> None:
    k, v = values("k", 3, 2, 66, kind=kind), values("v", 3, 2, 66, kind=kind)
    _check(device, k, v, 4, values("cache", 2, 11, 66).astype(dtype), f"kv_append {kind}")


def test_rounding_to_float16(device: Device) -> None:
    """The borders of overflow, of subnormals, and ties of both parities."""
    edges = np.array(HALF_EDGES, np.float32)
    k = np.resize(edges, (2, 1, 32)).astype(np.float32)
    _check(device, k, -k, 1, np.ones((1, 4, 32), np.float16), "kv_append edges")


@pytest.mark.parametrize("dtype", TYPES)
def test_rows_past_the_capacity_are_not_written(device: Device, dtype: type[np.generic]) -> None:
    k, v = values("k", 5, 2, 32), values("v", 5, 2, 32)
    cache = values("cache", 2, 8, 32).astype(dtype)
    keys, rows_of_values = cache.copy(), -cache
    oracle.exact(k[:2], v[:2], 6, keys=keys, values=rows_of_values)
    got = _appended(device, k, v, 6, cache)
    assert_same(got[0], keys.astype(np.float32), "keys")
    assert_same(got[1], rows_of_values.astype(np.float32), "values")


def test_schedules(host_variant: HostDevice) -> None:
    k, v = values("k", 5, 3, 34), values("v", 5, 3, 34)
    for limit in GRIDS:
        for dtype in TYPES:
            cache = values("cache", 3, 9, 34).astype(dtype)
            _check(host_variant, k, v, 2, cache, f"kv_append on {limit} blocks", grid_limit=limit)


def test_a_cache_of_another_width_is_refused(device: Device) -> None:
    message = r"^kv_append: keys is float32 \(2, 8, 64\), expected float32 or float16 \(2, any, 32\)$"
    with pytest.raises(LaunchError, match=message):
        _appended(device, values("k", 1, 2, 32), values("v", 1, 2, 32), 0, values("cache", 2, 8, 64))
