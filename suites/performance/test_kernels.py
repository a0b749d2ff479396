"""Kernels of a step at the shapes of an 8B model, with cold weights; on the host device at shapes it can do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from engine.device import Buffer, Device, Stream
from engine.ops.matmul import matmul
from engine.ops.rms_norm import rms_norm
from engine.ops.swiglu import swiglu
from engine.weights import load_weight
from suites.kernels.cases import values
from suites.kernels.matmuls import upload_quantized, weight
from suites.performance.conftest import DeviceBenchmark

COPIES = 6  # of a weight, read in turn: together far larger than the L2 cache
SIZES = {"cuda": (12288, 4096), "host": (64, 256)}  # outputs, columns
ROWS = {"cuda": 512, "host": 2}


@pytest.fixture
def stack(device: Device) -> Iterator[ExitStack]:
    """Frees what a test puts on the device."""
    with ExitStack() as stack:
        yield stack


def upload(stack: ExitStack, device: Device, name: str, *shape: int) -> Buffer:
    buffer = device.upload(values(name, *shape), name)
    stack.callback(device.free, buffer)
    return buffer


@pytest.mark.parametrize("rows", [1, 512])
@pytest.mark.parametrize("type_name", ["Q8_0", "Q4_K", "Q6_K"])
def test_matmul(device: Device, stack: ExitStack, device_benchmark: DeviceBenchmark, type_name: str, rows: int) -> None:
    outputs, cols = SIZES[device.name]
    rows = min(rows, ROWS[device.name])
    tensor = weight(type_name, outputs, cols)
    weights = [load_weight(device, tensor, f"weight.{i}") for i in range(COPIES)]
    x = upload_quantized(device, values("x", rows, cols))
    out = device.alloc((rows, outputs), np.float32, "out")
    for buffer in (out, x.codes, x.scales, x.sums, *(each.buffer for each in weights)):
        stack.callback(device.free, buffer)

    def launch(stream: Stream, i: int) -> None:
        matmul(stream, x, weights[i % COPIES], out=out)

    device_benchmark(launch, bytes_moved=tensor.data.nbytes)


@pytest.mark.parametrize("rows", [1, 512])
def test_rms_norm(device: Device, stack: ExitStack, device_benchmark: DeviceBenchmark, rows: int) -> None:
    _, cols = SIZES[device.name]
    x, gain = upload(stack, device, "x", min(rows, ROWS[device.name]), cols), upload(stack, device, "weight", cols)
    out = device.alloc(x.shape, np.float32, "out")
    stack.callback(device.free, out)
    device_benchmark(lambda stream, _: rms_norm(stream, x, gain, eps=1e-6, out=out), bytes_moved=2 * x.nbytes)


@pytest.mark.parametrize("rows", [1, 512])
def test_swiglu(device: Device, stack: ExitStack, device_benchmark: DeviceBenchmark, rows: int) -> None:
    outputs, _ = SIZES[device.name]
    gate, up = (upload(stack, device, name, min(rows, ROWS[device.name]), outputs) for name in ("gate", "up"))
    out = device.alloc(gate.shape, np.float32, "out")
    stack.callback(device.free, out)
    device_benchmark(lambda stream, _: swiglu(stream, gate, up, out=out), bytes_moved=3 * gate.nbytes)
