"""matmul_residual on every device against reference/ops/matmul_residual.py, by bits, and its row as others read it."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices.host import HostDevice
from engine.ops.matmul_group import Product, matmul_group
from engine.ops.matmul_residual import matmul_residual, takes
from engine.ops.matmul_swiglu import matmul_swiglu
from engine.ops.quantize import Norm, Quantized
from engine.weights import load_weight
from reference.ops import matmul, rms_norm_quantize
from reference.ops import matmul_residual as oracle
from reference.ops import matmul_swiglu as swiglu_oracle
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from suites.kernels.cases import F32, GRIDS
from suites.kernels.matmuls import VALUES, upload_quantized, values, weight
from suites.kernels.quantized import assert_same_quantized, outputs, rows_of
from suites.models import assert_same_bits

EPS = 1e-6
TYPES = ("Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K")
LARGE = 227 * 1024  # bytes of shared memory: blocks of 16 or 24 warps


def _room(device: Device, dim: int) -> Quantized:
    made = {name: device.alloc(shape, dtype, name) for name, (shape, dtype) in outputs(1, dim).items()}
    squares = device.alloc((dim // 32,), np.float32, "squares")
    for buffer in (*made.values(), squares):
        buffer.fill(0xFF)
    norm = Norm(squares=squares, eps=EPS)
    return rows_of(made, norm=norm)


def _check(
    device: Device, name: str, dim: int, cols: int, *, kind: str = "normal", ahead: bool = False,
    grid_limit: int | None = None,
) -> tuple[Quantized, F32, F32]:  # fmt: skip
    """Runs it; what it leaves for others, the new x and the gains."""
    a, x, gains = values(1, cols, kind=kind), values(1, dim, seed=5), values(1, dim, seed=6)[0]
    tensor = weight(name, dim, cols)
    expected = oracle.exact(Activations(values=a, quantized=quantize(a)), tensor, x, gains)
    stream, stored, out = device.upload(x, "x"), device.upload(gains, "gains"), _room(device, dim)
    quantized, loaded = upload_quantized(device, a), load_weight(device, tensor, "weight")
    matmul_residual(device.stream(grid_limit=grid_limit), quantized, loaded, stored, x=stream, out=out, ahead=ahead)
    what = f"matmul_residual {name} {dim} {cols} {kind}"
    assert_same_bits(stream.read().view(np.float32), expected.x, f"{what}: x")
    got = {part: getattr(out, part).read() for part in ("codes", "scales", "sums")}
    assert_same_quantized(got, expected.quantized, what)
    assert out.norm is not None
    assert_same_bits(out.norm.squares.read().view(np.float32), expected.squares, f"{what}: squares")
    for buffer in (stream, stored, quantized.codes, quantized.scales, quantized.sums, loaded.buffer):
        device.free(buffer)
    return out, expected.x, gains


def _free(device: Device, out: Quantized) -> None:
    assert out.norm is not None
    for buffer in (out.codes, out.scales, out.sums, out.norm.squares):
        device.free(buffer)


@pytest.mark.parametrize("ahead", [False, True], ids=["behind", "ahead"])
@pytest.mark.parametrize("name", TYPES)
def test_types(device: Device, name: str, ahead: bool) -> None:
    _free(device, _check(device, name, 160, 768, ahead=ahead)[0])


@pytest.mark.parametrize("grid_limit", GRIDS)
@pytest.mark.parametrize(("dim", "cols"), [(32, 256), (96, 2304), (704, 512), (64, 14592), (64, 28544), (1120, 4352)])
def test_shapes(device: Device, dim: int, cols: int, grid_limit: int | None) -> None:
    name = "Q4_K" if cols % 256 == 0 else "Q5_0"
    _free(device, _check(device, name, dim, cols, grid_limit=grid_limit)[0])


@pytest.mark.parametrize(("dim", "cols"), [(32, 256), (96, 2304), (64, 12288), (160, 6144)])
@pytest.mark.parametrize("name", TYPES)
def test_large_blocks(name: str, dim: int, cols: int) -> None:
    """A multiprocessor with the shared memory for a block of 16 warps, or 24 where rows are long."""
    large = HostDevice(shared_limit=LARGE)
    try:
        _check(large, name, dim, cols, grid_limit=2)
    finally:
        large.close()


@pytest.mark.parametrize("kind", VALUES)
def test_values(device: Device, kind: str) -> None:
    _free(device, _check(device, "Q6_K", 64, 512, kind=kind)[0])


def test_schedules(host_variant: HostDevice) -> None:
    for name in TYPES:
        _free(host_variant, _check(host_variant, name, 160, 768, grid_limit=2)[0])


@pytest.mark.parametrize("kind", ["normal", "outliers", "nan", "infinity"])
@pytest.mark.parametrize("types", [("Q4_K", "Q4_K", "Q6_K"), ("Q8_0",), ("Q5_0", "Q5_0"), ("Q4_0",) * 3], ids="+".join)
def test_products_behind_it(device: Device, types: tuple[str, ...], kind: str) -> None:
    """The products of the row find the factor of its norm: the bits of those of rms_norm_quantize."""
    dim = 768 if types[0] == "Q4_K" else 1120
    out, x, gains = _check(device, "Q4_K", dim, 768, kind=kind)
    tensors = [weight(name, 70, dim, seed=i) for i, name in enumerate(types)]
    results = [device.alloc((1, 70), np.float32, "out") for _ in types]
    loaded = [load_weight(device, tensor, "weight") for tensor in tensors]
    products = [Product(weight=w, out=result) for w, result in zip(loaded, results, strict=True)]
    matmul_group(device.stream(), out, products)
    normed = Activations(values=x, quantized=rms_norm_quantize.exact(x, gains, eps=EPS))
    for tensor, result in zip(tensors, results, strict=True):
        assert_same_bits(
            result.read().view(np.float32), matmul.exact(normed, tensor), f"matmul_group behind a norm, {types} {kind}"
        )
    for buffer in (*results, *(w.buffer for w in loaded)):
        device.free(buffer)
    _free(device, out)


@pytest.mark.parametrize("name", TYPES)
def test_gate_and_up_behind_it(device: Device, name: str) -> None:
    _check_gate_and_up(device, name, 768)


@pytest.mark.parametrize("dim", [8448, 11008])
def test_a_wide_row_behind_it(device: Device, dim: int) -> None:
    """More blocks of 32 than a thread block has threads; more columns than it has room for at a time."""
    _check_gate_and_up(device, "Q5_K", dim)


def _check_gate_and_up(device: Device, name: str, dim: int) -> None:
    out, x, gains = _check(device, "Q6_K", dim, 256)
    gate, up = (weight(name, 160, dim, seed=i) for i in range(2))
    made = {part: device.alloc(shape, dtype, part) for part, (shape, dtype) in outputs(1, 160).items()}
    loaded = [load_weight(device, tensor, "weight") for tensor in (gate, up)]
    matmul_swiglu(device.stream(), out, *loaded, out=rows_of(made))
    normed = Activations(values=x, quantized=rms_norm_quantize.exact(x, gains, eps=EPS))
    got = {part: buffer.read() for part, buffer in made.items()}
    assert_same_quantized(got, swiglu_oracle.exact(normed, gate, up), f"matmul_swiglu behind a norm, {name}")
    for buffer in (*made.values(), *(w.buffer for w in loaded)):
        device.free(buffer)
    _free(device, out)


def test_what_is_refused(device: Device) -> None:
    a, gains, x = values(1, 256), device.upload(values(1, 64)[0], "gains"), device.upload(values(1, 64), "x")
    quantized, out = upload_quantized(device, a), _room(device, 64)
    stream, plain = device.stream(), load_weight(device, weight("F16", 64, 256), "weight")
    odd, right = (load_weight(device, weight("Q8_0", rows, 256), "weight") for rows in (72, 64))
    assert takes(stream, right)
    assert not takes(stream, plain)
    assert not takes(stream, odd)
    with pytest.raises(LaunchError, match=r"^matmul_residual: no kernel for F16 weights of 64 rows$"):
        matmul_residual(stream, quantized, plain, gains, x=x, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_residual: no kernel for Q8_0 weights of 72 rows$"):
        matmul_residual(stream, quantized, odd, gains, x=x, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_residual: out has no norm, expected room for the sums of squares"):
        matmul_residual(stream, quantized, right, gains, x=x, out=quantized.view(1, 128))
    with pytest.raises(LaunchError, match=r"^matmul_residual: the row lacks the factor of its norm, which this kernel"):
        matmul_residual(stream, out, right, gains, x=x, out=out)
