"""matmul_group on every device against reference/ops/matmul_group.py, by bits."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.matmul_group import PAIRS, Product, matmul_group
from engine.weights import load_weight
from reference.ops import matmul_group as oracle
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from suites.kernels.cases import GRIDS
from suites.kernels.matmuls import VALUES, upload_quantized, values, weight
from suites.models import assert_same_bits

TYPES = ("Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K")
SAME = [(kind,) * count for kind in TYPES for count in (1, 2, 3)]
GROUPS = [*SAME, *((first, first, last) for first, last in sorted(PAIRS))]
OUTPUTS = (70, 32, 33)


def _check(
    device: Device, types: tuple[str, ...], cols: int, rows: int = 1, *, added: str = "none", kind: str = "normal",
    outputs: tuple[int, ...] = OUTPUTS, grid_limit: int | None = None,
) -> None:  # fmt: skip
    x = values(rows, cols, kind=kind)
    tensors = [weight(name, outputs[i], cols, seed=i) for i, name in enumerate(types)]
    others = [None if added == "none" else values(rows, t.shape[0], seed=9) for t in tensors]
    if added == "bias":
        others = [None if other is None else other[0] for other in others]
    expected = oracle.exact(Activations(values=x, quantized=quantize(x)), tensors, others)
    quantized = upload_quantized(device, x)
    products = []
    for tensor, other in zip(tensors, others, strict=True):
        out = device.alloc((rows, tensor.shape[0]), np.float32, "out")
        out.fill(0xFF)
        if added == "residual":
            assert other is not None
            out.write(other)
        addend = out if added == "residual" else None if other is None else device.upload(other, "added")
        products.append(Product(weight=load_weight(device, tensor, "weight"), out=out, added=addend))
    ahead = added == "residual"  # as the output of attention does it
    matmul_group(device.stream(grid_limit=grid_limit), quantized, products, ahead=ahead)
    for product, wanted in zip(products, expected, strict=True):
        assert_same_bits(product.out.read().view(np.float32), wanted, f"matmul_group {types} {cols} {added}")
    buffers = [quantized.codes, quantized.scales, quantized.sums]
    buffers += [*(p.out for p in products), *(p.weight.buffer for p in products)]
    for buffer in [*buffers, *(p.added for p in products if p.added not in (None, p.out))]:
        device.free(buffer)


@pytest.mark.parametrize("added", ["none", "bias", "residual"])
@pytest.mark.parametrize("types", GROUPS, ids="+".join)
def test_types(device: Device, types: tuple[str, ...], added: str) -> None:
    _check(device, types, 768, added=added)


@pytest.mark.parametrize("rows", [2, 5, 8])
@pytest.mark.parametrize("types", GROUPS, ids="+".join)
def test_a_few_rows(device: Device, types: tuple[str, ...], rows: int) -> None:
    _check(device, types, 2816, rows, added="bias" if rows % 2 else "residual")


@pytest.mark.parametrize("rows", [9, 70])
@pytest.mark.parametrize("types", SAME, ids="+".join)
def test_many_rows(device: Device, types: tuple[str, ...], rows: int) -> None:
    """By the gemm: several tiles of rows and of outputs."""
    outputs = (150, 32, 129)
    _check(device, types, 768, rows, added="bias" if rows % 2 else "residual", outputs=outputs)


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(
    ("types", "cols", "rows"),
    [
        (("Q8_0",), 704, 3),
        (("Q4_0",) * 3, 2112, 1),
        (("Q4_K", "Q4_K", "Q6_K"), 27648, 1),
        (("Q4_K", "Q4_K", "Q6_K"), 9216, 6),
        (("Q5_0",), 28544, 1),
        (("Q4_K",) * 3, 512, 66),
        (("Q4_0",) * 2, 2112, 11),
    ],
)
def test_widths(device: Device, types: tuple[str, ...], cols: int, rows: int, grid_limit: int | None) -> None:
    """A short last chunk, several rows, and rows longer than a block holds at a time."""
    _check(device, types, cols, rows, added="residual", grid_limit=grid_limit)


@pytest.mark.parametrize(("types", "rows"), [(("Q4_K", "Q4_K", "Q6_K"), 2), (("Q6_K", "Q6_K"), 9)])
@pytest.mark.parametrize("kind", VALUES)
def test_values(device: Device, kind: str, types: tuple[str, ...], rows: int) -> None:
    _check(device, types, 512, rows, kind=kind)


@pytest.mark.parametrize(("types", "rows"), [(("Q4_K", "Q4_K", "Q6_K"), 2), (("Q4_K", "Q4_K"), 11)])
def test_schedules(host_variant: HostDevice, types: tuple[str, ...], rows: int) -> None:
    _check(host_variant, types, 768, rows, added="residual", grid_limit=2)


@pytest.mark.parametrize(("types", "rows"), [(("Q8_0", "Q6_K"), 1), (("Q4_K", "Q4_K", "Q6_K"), 9)])
def test_other_types_are_refused(device: Device, types: tuple[str, ...], rows: int) -> None:
    said = f"matmul_group: no kernel for weights of {', '.join(types)} and {rows} rows"
    with pytest.raises(LaunchError, match=f"^{said}$"):
        _check(device, types, 256, rows)
