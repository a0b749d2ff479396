"""rms_norm_matmul_group on every device against reference/ops/rms_norm_matmul_group.py, by bits."""

from __future__ import annotations

import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.matmul_group import PAIRS, Product
from engine.ops.rms_norm_matmul_group import rms_norm_matmul_group
from engine.weights import load_weight
from reference.ops import rms_norm_matmul_group as oracle
from suites.kernels.cases import GRIDS
from suites.kernels.matmuls import VALUES, values, weight
from suites.models import assert_same_bits

EPS = 1e-6
OUTPUTS = (70, 32, 33)
TYPES = ("Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K")
GROUPS = [*((kind,) * 2 for kind in TYPES), *((first, first, last) for first, last in sorted(PAIRS))]


def _check(
    device: Device, types: tuple[str, ...], cols: int, rows: int = 1, *, biased: bool = False, kind: str = "normal",
    grid_limit: int | None = None,
) -> None:  # fmt: skip
    x, norm = values(rows, cols, kind=kind), values(1, cols, seed=7)[0]
    tensors = [weight(name, OUTPUTS[i], cols, seed=i) for i, name in enumerate(types)]
    biases = [values(1, t.shape[0], seed=9)[0] if biased else None for t in tensors]
    expected = oracle.exact(x, norm, tensors, biases, eps=EPS)
    inputs = [device.upload(x, "x"), device.upload(norm, "norm")]
    products = []
    for tensor, bias in zip(tensors, biases, strict=True):
        out = device.alloc((rows, tensor.shape[0]), "float32", "out")
        out.fill(0xFF)
        added = None if bias is None else device.upload(bias, "bias")
        products.append(Product(weight=load_weight(device, tensor, "weight"), out=out, added=added))
    rms_norm_matmul_group(device.stream(grid_limit=grid_limit), *inputs, products, eps=EPS)
    for product, wanted in zip(products, expected, strict=True):
        assert_same_bits(product.out.read().view("float32"), wanted, f"rms_norm_matmul_group {types} {cols}")
    buffers = [*inputs, *(p.out for p in products), *(p.weight.buffer for p in products)]
    for buffer in [*buffers, *(p.added for p in products if p.added is not None)]:
        device.free(buffer)


@pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])
@pytest.mark.parametrize("types", GROUPS, ids="+".join)
def test_types(device: Device, types: tuple[str, ...], biased: bool) -> None:
    _check(device, types, 768, biased=biased)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(
    ("types", "cols", "rows"),
    [(("Q8_0",), 704, 3), (("Q4_0",) * 3, 32, 2), (("Q4_K", "Q4_K", "Q6_K"), 12544, 2), (("Q5_0",), 4128, 1)],
)
def test_widths(device: Device, types: tuple[str, ...], cols: int, rows: int, grid_limit: int | None) -> None:
    """A short last chunk, rows shorter than the chains of the norm, and longer than a block holds at a time."""
    _check(device, types, cols, rows, grid_limit=grid_limit)


@pytest.mark.parametrize("kind", VALUES)
def test_values(device: Device, kind: str) -> None:
    _check(device, ("Q4_K", "Q4_K", "Q6_K"), 512, 2, kind=kind)


def test_schedules(host_variant: HostDevice) -> None:
    _check(host_variant, ("Q4_K", "Q4_K", "Q6_K"), 768, 2, biased=True, grid_limit=2)


def test_other_types_are_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^rms_norm_matmul_group: no kernel for weights of Q8_0, Q6_K$"):
        _check(device, ("Q8_0", "Q6_K"), 256)


def test_an_odd_width_is_refused(device: Device) -> None:
    with pytest.raises(LaunchError, match=r"^rms_norm_matmul_group: x is float32 \(1, 33\), expected float32 \(any, 64\)$"):
        x, norm = device.upload(values(1, 33), "x"), device.upload(values(1, 33)[0], "norm")
        weights = load_weight(device, weight("Q8_0", 32, 64), "weight")
        rms_norm_matmul_group(device.stream(), x, norm, [Product(weight=weights, out=x)], eps=EPS)
