"""heads_append on every device against reference/ops/heads_append.py, by bits: queries and caches, old cells too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device, LaunchError, Stream
from engine.devices.host import HostDevice
from engine.ops.heads_append import heads_append
from reference.ops import heads_append as oracle
from suites.kernels.cases import GRIDS, KINDS, Kind, assert_same, run, values

EPS = 1e-6
TYPES = (np.float32, np.float16)
INPUTS = ("q", "k", "v", "q_weight", "k_weight", "cos", "sin")
Shape = tuple[int, int, int, int, int, int, int]  # rows, heads, kv_heads, head_dim, pairs, context, position
SHAPES: tuple[Shape, ...] = (
    (1, 1, 1, 32, 16, 1, 0),
    (3, 4, 2, 64, 32, 9, 0),
    (8, 32, 8, 128, 64, 60, 52),
    (5, 3, 3, 34, 17, 50, 37),
    (4, 6, 1, 96, 20, 70, 3),
    (2, 8, 4, 256, 128, 5, 3),
    (70, 4, 2, 128, 64, 80, 9),
)


def _check(
    device: Device, shape: Shape, dtype: type[np.generic], *, kind: Kind = "normal", grid_limit: int | None = None
) -> None:
    rows, heads, kv_heads, head_dim, pairs, context, position = shape
    tensors: dict[str, NDArray[Any]] = {
        "q": values("q", rows, heads, head_dim, kind=kind),
        "k": values("k", rows, kv_heads, head_dim, kind=kind),
        "v": values("v", rows, kv_heads, head_dim, kind=kind),
        "q_weight": values("q_weight", head_dim),
        "k_weight": values("k_weight", head_dim),
        "cos": values("cos", context, pairs),
        "sin": values("sin", context, pairs),
    }
    caches = {name: values(name, kv_heads, context, head_dim).astype(dtype) for name in ("keys", "values")}
    after = {name: cache.copy() for name, cache in caches.items()}
    q, k, v, q_weight, k_weight, cos, sin = (tensors[name] for name in INPUTS)
    turned = oracle.exact(
        q, k, v, q_weight, k_weight, cos, sin, position, eps=EPS, keys=after["keys"], values=after["values"]
    )
    place = np.array([position], np.int32)
    results = run(device, {**tensors, **caches, "position": place}, {}, _launch, grid_limit=grid_limit)
    what = f"heads_append {shape} {kind}"
    assert_same(results["q"], turned, f"{what}, q")
    for name, cache in after.items():
        assert_same(results[name].astype(np.float32), cache.astype(np.float32), f"{what}, {name}")


def _launch(stream: Stream, b: dict[str, Buffer]) -> None:
    given = {name: b[name] for name in ("q_weight", "k_weight", "keys", "values")}
    heads_append(stream, b["q"], b["k"], b["v"], b["cos"], b["sin"], b["position"], eps=EPS, **given)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(device: Device, shape: Shape, dtype: type[np.generic], grid_limit: int | None) -> None:
    _check(device, shape, dtype, grid_limit=grid_limit)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind, dtype: type[np.generic]) -> None:
    _check(device, (3, 4, 2, 66, 33, 11, 4), dtype, kind=kind)


def test_schedules(host_variant: HostDevice) -> None:
    for limit in GRIDS:
        _check(host_variant, (5, 3, 3, 34, 17, 9, 2), np.float16, grid_limit=limit)


def test_wide_heads_and_short_tables_are_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^heads_append: head_dim is 288, expected up to 256$"):
        _check(device, (1, 1, 1, 288, 16, 3, 0), np.float32)
    with pytest.raises(
        LaunchError, match=r"^heads_append: tables of 3 positions and 17 pairs for 3 keys of 32 values$"
    ):
        _check_tables(device)


def _check_tables(device: Device) -> None:
    shapes = {"q": (1, 1, 32), "k": (1, 1, 32), "v": (1, 1, 32), "q_weight": (32,), "k_weight": (32,)}
    tensors: dict[str, NDArray[Any]] = {name: values(name, *shape) for name, shape in shapes.items()}
    tables = {name: values(name, 3, 17) for name in ("cos", "sin")}
    caches = {name: values(name, 1, 3, 32) for name in ("keys", "values")}
    run(device, {**tensors, **tables, **caches, "position": np.zeros(1, np.int32)}, {}, _launch)
