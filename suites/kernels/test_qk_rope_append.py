"""qk_rope_append on every device against reference/ops/qk_rope_append.py, by bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.qk_rope_append import qk_rope_append
from reference.ops import qk_rope_append as oracle
from suites.kernels.cases import GRIDS, KINDS, Kind, assert_same, run, values

EPS = 1e-6
KV = (np.float32, np.float16)
SHAPES = ((1, 4, 2, 64), (1, 32, 8, 128), (3, 3, 1, 34), (2, 5, 5, 80), (1, 2, 1, 256), (17, 4, 2, 32))


def _inputs(shape: tuple[int, int, int, int], pairs: int, position: int, kind: Kind = "normal") -> dict[str, Any]:
    rows, heads, kv_heads, head_dim = shape
    return {
        "q": values("q", rows, heads, head_dim, kind=kind),
        "k": values("k", rows, kv_heads, head_dim, kind=kind),
        "v": values("v", rows, kv_heads, head_dim, kind=kind),
        "q_weight": values("q_weight", head_dim),
        "k_weight": values("k_weight", head_dim),
        "cos": values("cos", position + rows + 2, pairs),
        "sin": values("sin", position + rows + 2, pairs),
        "position": np.array([position], np.int32),
    }


def _check(
    device: Device, inputs: dict[str, Any], kv: type[np.floating[Any]], *, grid_limit: int | None = None
) -> None:
    position = int(inputs["position"][0])
    rows, kv_heads, head_dim = inputs["k"].shape
    caches = {name: values(name, kv_heads, position + rows + 1, head_dim).astype(kv) for name in ("keys", "values")}
    names = ("q", "k", "v", "q_weight", "k_weight", "cos", "sin")
    results = run(
        device,
        {**inputs, **caches},
        {},
        lambda stream, b: qk_rope_append(
            stream, b["q"], b["k"], b["v"], b["q_weight"], b["k_weight"], b["cos"], b["sin"], b["position"],
            eps=EPS, keys=b["keys"], values=b["values"],
        ),
        grid_limit=grid_limit,
    )  # fmt: skip
    keys, cached = (cache.copy() for cache in caches.values())
    q, k, v, q_weight, k_weight, cos, sin = (inputs[name] for name in names)
    turned = oracle.exact(q, k, v, q_weight, k_weight, cos, sin, position, eps=EPS, keys=keys, values=cached)
    expected: dict[str, NDArray[Any]] = {"q": turned, "keys": keys, "values": cached}
    for name, wanted in expected.items():
        assert_same(results[name].astype(np.float32), wanted.astype(np.float32), f"qk_rope_append {name}")


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize("kv", KV)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes(
    device: Device, shape: tuple[int, int, int, int], kv: type[np.floating[Any]], grid_limit: int | None
) -> None:
    _check(device, _inputs(shape, shape[3] // 2, 3), kv, grid_limit=grid_limit)


@pytest.mark.parametrize("kind", KINDS)
def test_values(device: Device, kind: Kind) -> None:
    _check(device, _inputs((2, 4, 2, 64), 32, 5, kind), np.float32)


def test_part_of_a_head_turns(device: Device) -> None:
    _check(device, _inputs((2, 4, 2, 96), 20, 0), np.float16)


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, _inputs((3, 4, 2, 34), 17, 1), np.float16, grid_limit=2)


def test_a_head_narrower_than_the_tables_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^qk_rope_append: head_dim is 32, expected 40 \.\. 256$"):
        _check(device, _inputs((1, 2, 1, 32), 20, 0), np.float32)
