"""matmul_swiglu on every device against reference/ops/matmul_swiglu.py, by bits."""

from __future__ import annotations

import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.matmul_swiglu import matmul_swiglu
from engine.weights import load_weight
from reference.ops import matmul_swiglu as oracle
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from suites.kernels.cases import GRIDS
from suites.kernels.matmuls import VALUES, upload_quantized, values, weight
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of

TYPES = ("Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K")


def _check(
    device: Device, types: tuple[str, str], ff: int, cols: int, rows: int = 1, *, kind: str = "normal",
    grid_limit: int | None = None,
) -> None:  # fmt: skip
    x = values(rows, cols, kind=kind)
    gate, up = (weight(name, ff, cols, seed=i) for i, name in enumerate(types))
    expected = oracle.exact(Activations(values=x, quantized=quantize(x)), gate, up)
    quantized = upload_quantized(device, x)
    out = {name: device.alloc(shape, dtype, name) for name, (shape, dtype) in outputs(rows, ff).items()}
    for buffer in out.values():
        buffer.fill(0xFF)
    weights = [load_weight(device, tensor, "weight") for tensor in (gate, up)]
    room = rows_of(out)
    matmul_swiglu(device.stream(grid_limit=grid_limit), quantized, *weights, out=room)
    got = {name: buffer.read() for name, buffer in out.items()}
    assert_same_quantized(got, expected, f"matmul_swiglu {types} {ff} {cols}")
    for buffer in [*out.values(), quantized.codes, quantized.scales, quantized.sums, *(w.buffer for w in weights)]:
        device.free(buffer)


@pytest.mark.parametrize("name", TYPES)
def test_types(device: Device, name: str) -> None:
    _check(device, (name, name), 160, 768)


@pytest.mark.parametrize("rows", [2, 5, 8, 11])
@pytest.mark.parametrize("name", TYPES)
def test_a_few_rows(device: Device, name: str, rows: int) -> None:
    _check(device, (name, name), 160, 2816, rows)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(
    ("ff", "cols", "rows"), [(32, 256, 1), (96, 2304, 3), (704, 512, 1), (64, 14592, 1), (64, 4352, 8)]
)
def test_shapes(device: Device, ff: int, cols: int, rows: int, grid_limit: int | None) -> None:
    _check(device, ("Q4_K", "Q4_K"), ff, cols, rows, grid_limit=grid_limit)


@pytest.mark.parametrize("kind", VALUES)
def test_values(device: Device, kind: str) -> None:
    _check(device, ("Q6_K", "Q6_K"), 64, 512, 2, kind=kind)


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, ("Q4_K", "Q4_K"), 96, 768, 2, grid_limit=2)


def test_two_types_are_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^matmul_swiglu: no kernel for Q4_K and Q6_K weights of 64 rows$"):
        _check(device, ("Q4_K", "Q6_K"), 64, 256)
