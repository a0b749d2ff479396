"""Timing both ways to multiply by the weights of a model, at a few rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from engine.device import Buffer, Device
from engine.devices.cuda import CudaDevice
from engine.families.qwen3 import Weights
from engine.launch_log import LaunchLog
from engine.ops._crossover import table_path
from engine.ops._matmul import batch_path
from engine.ops.matmul import MatmulPath, matmul
from engine.ops.quantize import BLOCK, Quantized, padded, quantize
from engine.weights import Weight
from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.kernels import Recorded, StepTimer
from harness.adapters.models import open_file
from harness.crossover import ROWS, Timed

MOST_WEIGHTS = 8  # of one shape: in a sample each is multiplied once, and the L2 cache is flushed before

Case = tuple[int, MatmulPath]  # rows, path


def measure(files: Sequence[Path], *, cache: Path, say: Callable[[str], None]) -> tuple[str, tuple[Timed, ...]]:
    """The GPU's name, and every type and shape of the models' matrices, each once. Raises NoDevice or BadInput."""
    found: dict[tuple[str, int, int], tuple[Timed, ...]] = {}
    with opened("cuda", cache) as device:
        assert isinstance(device, CudaDevice)
        for file in files:
            say(f"loading {file.name}")
            with LoadedModel(device, open_file(file)) as loaded:
                for shape, weights in shapes(loaded.weights).items():
                    if shape not in found:
                        say(f"{shape[0]} {shape[1]} x {shape[2]}")
                        found[shape] = _timed(device, weights[:MOST_WEIGHTS])
        return device.description, tuple(item for times in found.values() for item in times)


def paths(weight: Weight, rows: int) -> tuple[MatmulPath, MatmulPath]:
    """The two ways between which the engine chooses."""
    return "matvec", batch_path(weight, rows)


def table_name(gpu: str) -> str:
    """What the engine calls the table of a GPU."""
    return table_path(gpu, Path()).name


def shapes(weights: Weights) -> dict[tuple[str, int, int], list[Weight]]:
    """The matrices that are multiplied by, by type, outputs and columns. A table that only gives rows is none."""
    found: dict[tuple[str, int, int], list[Weight]] = {}
    layers = (value for layer in weights.layers for value in vars(layer).values() if isinstance(value, Weight))
    for weight in (*layers, weights.output):
        found.setdefault((weight.type, weight.rows, weight.cols), []).append(weight)
    return found


def recorded(
    device: Device, weights: Sequence[Weight], stack: ExitStack, rows: Sequence[int] = ROWS
) -> tuple[Recorded, dict[Case, range]]:
    """Launches of both ways at every number of rows over all `weights`, and where in them each case stands.

    Buffers are freed when `stack` closes. The activations are random; those of all cases are the first rows of them.
    """
    weight, most = weights[0], max(rows)
    log = LaunchLog(device.stream())
    x, quantized = _activations(device, weight, most, log, stack)
    out = device.alloc((most, weight.rows), np.float32, "crossover.out")
    stack.callback(device.free, out)
    places: dict[Case, range] = {}
    with log.noting() as launches:
        for count, path in ((n, path) for n in rows for path in paths(weight, n)):
            first = len(launches)
            given = quantized.view(count, padded(weight.cols)) if quantized is not None else x.rows(0, count)
            for each in weights:
                matmul(log, given, each, path=path, out=out.rows(0, count))
            places[count, path] = range(first, len(launches))
    log.synchronize()
    return Recorded(launches=tuple(launches), rows=most, position=0, state=()), places


def _activations(
    device: Device, weight: Weight, rows: int, log: LaunchLog, stack: ExitStack
) -> tuple[Buffer, Quantized | None]:
    def kept(buffer: Buffer) -> Buffer:
        stack.callback(device.free, buffer)
        return buffer

    values = np.random.default_rng([rows, weight.cols]).standard_normal((rows, weight.cols)).astype(np.float32)
    x = kept(device.upload(values, "crossover.x"))
    if not weight.quantized:
        return x, None
    width = padded(weight.cols)
    quantized = Quantized(
        codes=kept(device.alloc((rows, width), np.int8, "crossover.codes")),
        scales=kept(device.alloc((rows, width // BLOCK), np.float32, "crossover.scales")),
        sums=kept(device.alloc((rows, width // BLOCK), np.float32, "crossover.sums")),
    )
    quantize(log, x, out=quantized)
    return x, quantized


def _timed(device: CudaDevice, weights: Sequence[Weight]) -> tuple[Timed, ...]:
    with ExitStack() as stack:
        step, places = recorded(device, weights, stack)
        timer = StepTimer(device, step, pdl=False)
        stack.callback(timer.close)
        return tuple(_both(timer, weights[0], places))


def _both(timer: StepTimer, weight: Weight, places: dict[Case, range]) -> Iterator[Timed]:
    for count in dict.fromkeys(rows for rows, _ in places):
        ways = paths(weight, count)
        matvec, batch = (timer.call_us(places[count, path]) for path in ways)
        yield Timed(
            type=weight.type,
            outputs=weight.rows,
            cols=weight.cols,
            rows=count,
            matvec=matvec,
            batch=batch,
            path=ways[1],
        )
