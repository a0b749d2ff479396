"""Cases that all matmul kernels share: activations, and the comparison with the oracle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer, Device
from engine.ops.matmul import MatmulPath, matmul
from engine.ops.quantize import BLOCK, Quantized, padded
from engine.weights import Weight, load_weight
from harness.adapters.kernel_weights import Shape as Shape
from harness.adapters.kernel_weights import shapes as shapes
from harness.adapters.kernel_weights import weight as weight
from reference.ops import matmul as oracle
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor
from suites.models import assert_same_bits

F32 = NDArray[np.float32]


def paths(type_name: str) -> tuple[MatmulPath, ...]:
    return ("matvec", "few", "gemm") if WEIGHT_TYPES[type_name].quantized else ("matvec", "gemm")


VALUES = ("outliers", "zeros", "subnormal", "large", "nan", "infinity")


def values(rows: int, cols: int, *, kind: str = "normal", seed: int = 0) -> F32:
    """Activations (rows, cols); what `kind` names sits in a few places of them, or in all."""
    rng = np.random.default_rng([seed, rows, cols])
    x = rng.standard_normal((rows, cols)).astype(np.float32)
    spots = rng.integers(0, x.size, max(2, x.size // 97))
    match kind:
        case "outliers":
            x.flat[spots] *= np.float32(3e4)
        case "zeros":
            x[:, : cols // 2] = 0
            x.flat[spots] = -0.0
        case "subnormal":
            x *= np.float32(2.0**-131)
        case "large":
            x *= np.float32(2.0**100)
        case "nan":
            x.flat[spots[0]] = np.nan
        case "infinity":
            x.flat[spots[0]] = -np.inf
    return x


@dataclass(frozen=True, kw_only=True)
class Case:
    """One product, ready to run on a device, with its oracle."""

    device: Device
    weight: Weight
    x: Quantized | Buffer
    expected: F32

    def run(self, path: MatmulPath, *, grid_limit: int | None = None) -> F32:
        """The rows that the device computes, into poisoned memory."""
        out = self.device.alloc(self.expected.shape, np.float32, "out")
        out.fill(0xFF)
        matmul(self.device.stream(grid_limit=grid_limit), self.x, self.weight, path=path, out=out)
        result = out.read().view(np.float32)
        self.device.free(out)
        return result

    def check(self, what: str, *, grid_limit: int | None = None) -> None:
        for path in paths(self.weight.type):
            assert_same_bits(self.run(path, grid_limit=grid_limit), self.expected, f"{what} {path}")

    def close(self) -> None:
        x = self.x
        buffers = [x.codes, x.scales, x.sums] if isinstance(x, Quantized) else [x]
        for buffer in (self.weight.buffer, *buffers):
            self.device.free(buffer)


def case(device: Device, tensor: Tensor, x: F32) -> Case:
    """The activations are quantised by the oracle, so that nothing but the matmul is under test."""
    quantized = WEIGHT_TYPES[tensor.type].quantized
    activations = Activations(values=x, quantized=quantize(x) if quantized else None)
    return Case(
        device=device,
        weight=load_weight(device, tensor, "weight"),
        x=upload_quantized(device, x) if quantized else device.upload(x, "x"),
        expected=oracle.exact(activations, tensor),
    )


def upload_quantized(device: Device, x: F32) -> Quantized:
    """The 8-bit form of x (rows, cols), padded with zeros."""
    q = quantize(x)
    pads = padded(x.shape[1]) - x.shape[1]
    return Quantized(
        codes=device.upload(np.pad(q.codes, ((0, 0), (0, pads))), "codes"),
        scales=device.upload(np.pad(q.scales, ((0, 0), (0, pads // BLOCK))), "scales"),
        sums=device.upload(np.pad(q.sums, ((0, 0), (0, pads // BLOCK))), "sums"),
    )


def check_shape(device: Device, type_name: str, shape: Shape) -> None:
    outputs, cols, rows = shape
    product = case(device, weight(type_name, outputs, cols), values(rows, cols))
    product.check(f"{type_name} {shape}")
    product.close()


def check_values(device: Device, type_name: str, kind: str) -> None:
    """A NaN or an infinity must reach the outputs of its own row and no others."""
    cols = 512
    product = case(device, weight(type_name, 40, cols, seed=1), values(9, cols, kind=kind))
    finite = np.isfinite(product.expected).all(axis=1)
    assert finite.sum() == (8 if kind in ("nan", "infinity") else 9)
    product.check(f"{type_name} {kind}")
    product.close()


def check_bad_scales(device: Device, type_name: str) -> None:
    """An infinite and a NaN scale (or weight) in one row each."""
    tensor = weight(type_name, 33, 512, seed=2)
    kind = WEIGHT_TYPES[type_name]
    data = tensor.data.copy()
    blocks = data.view(kind.dtype)
    if kind.quantized:
        blocks["d"][3, 0], blocks["d"][32, -1] = np.inf, np.nan
    elif type_name == "BF16":
        blocks[3, 7], blocks[32, 511] = 0x7F80, 0x7FC0
    else:
        blocks[3, 7], blocks[32, 511] = np.inf, np.nan
    bad = Tensor(name="weight", type=type_name, shape=tensor.shape, data=data)
    product = case(device, bad, values(5, 512, seed=2))
    assert not np.isfinite(product.expected[:, [3, 32]]).any()
    assert np.isfinite(np.delete(product.expected, [3, 32], axis=1)).all()
    product.check(f"{type_name} infinite and NaN scales")
    product.close()


def check_grids(device: Device, type_name: str) -> None:
    """A smaller grid walks the same items."""
    product = case(device, weight(type_name, 300, 512, seed=3), values(70, 512, seed=3))
    for limit in (1, 3):
        product.check(f"{type_name} on {limit} blocks", grid_limit=limit)
    product.close()


def check_rows_alone(device: Device, type_name: str) -> None:
    """Every row of a batch has the bits that it has alone, by either path."""
    tensor, x = weight(type_name, 65, 768, seed=4), values(19, 768, seed=4)
    batch = case(device, tensor, x)
    together = [batch.run(path) for path in paths(type_name)]
    for row in range(len(x)):
        alone = case(device, tensor, x[row : row + 1])
        for path in paths(type_name):
            result = alone.run(path)
            for rows in together:
                assert_same_bits(rows[row : row + 1], result, f"{type_name} row {row} alone, {path}")
        alone.close()
    batch.close()


def check_bands(device: Device, type_name: str) -> None:
    """Any number of rows at once, up to a band of eight and past it, of widths that a block holds whole or in spans."""
    short = 0 if type_name.endswith("_K") else 160  # the last step then has one chunk
    for cols, rows in ((256, 8), (768, 5), (2304, 3), (4864, 8), (8448, 9)):
        x = values(rows, cols - short, seed=6)
        product = case(device, weight(type_name, 49, cols - short, seed=6), x)
        for limit in (None, 3):
            assert_same_bits(product.run("few", grid_limit=limit), product.expected, f"{type_name} {rows} of {cols}")
        product.close()


def check_schedule(device: Device, type_name: str) -> None:
    """A shape with every kind of ragged edge, small enough for the slow modes of the host device; blocks walk items."""
    odd = 0 if type_name.endswith("_K") else 128  # the last step then has one chunk
    for rows, cols in ((11, 768), (3, 768 - odd)):
        product = case(device, weight(type_name, 130, cols, seed=5), values(rows, cols, seed=5))
        product.check(f"{type_name} schedule", grid_limit=5)
        product.close()
