"""What the launchers of the nine matmuls share: checks, the choice of a kernel, geometry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops import _few
from engine.ops._crossover import matvec_rows
from engine.ops._matvec import STRIP_ROWS, Geometry, geometry, strips_of
from engine.ops.checks import blocks, int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, padded
from engine.weights import Weight

MatmulPath = Literal["auto", "matvec", "few", "gemm"]

CHUNK = 128  # columns
FLOAT_OUTPUTS, FLOAT_WARPS = (
    32,
    8,
)  # of a work item of a float matvec, which is one row; at most, each takes every eighth tile
GEMM_OUTPUTS, GEMM_ROWS, GEMM_THREADS = 128, 64, 128  # quantised weights; float weights: the same item by 256 threads
FLOAT_GEMM_THREADS = 256
_GEMM_CODES = {"Q8_0": 128, "Q4_0": 64, "Q5_0": 80, "Q4_K": 64, "Q5_K": 80, "Q6_K": 96}  # bytes of a row in a chunk


def matmul_quantized(
    stream: Stream, op: str, type_name: str, x: Quantized, weight: Weight, *, sums: bool, path: MatmulPath, out: Buffer
) -> None:
    """x (rows, padded cols), weight (outputs, cols) of `type_name` -> out (rows, outputs) float32.

    `sums`: whether the kernel takes x.sums after x.scales.
    """
    _check_weight(op, type_name, weight)
    width = padded(weight.cols)
    rows, _ = require(op, "codes", x.codes, (None, width), np.int8)
    require(op, "scales", x.scales, (rows, width // BLOCK), np.float32)
    require(op, "sums", x.sums, (rows, width // BLOCK), np.float32)
    int32(op, "blocks of activations", rows * (width // BLOCK))  # the kernel counts them
    inputs = (x.codes, x.scales, x.sums) if sums else (x.codes, x.scales)
    _launch(stream, op, inputs, weight, rows, width, path, out)


def matmul_float(
    stream: Stream, op: str, type_name: str, x: Buffer, weight: Weight, *, path: MatmulPath, out: Buffer
) -> None:
    """x (rows, cols) float32, weight (outputs, cols) of `type_name` -> out (rows, outputs) float32."""
    _check_weight(op, type_name, weight)
    rows, _ = require(op, "x", x, (None, weight.cols), np.float32)
    _launch(stream, op, (x,), weight, rows, weight.cols, path, out)


def batch_path(weight: Weight, rows: int) -> MatmulPath:
    """What auto takes for `rows` rows where it does not take the matvec."""
    return "few" if weight.quantized and rows <= _few.ROWS else "gemm"


def _check_weight(op: str, type_name: str, weight: Weight) -> None:
    if weight.type != type_name:
        raise refuse(op, f"weight {weight.name} is {weight.type}, expected {type_name}")
    require(op, f"weight {weight.name}", weight.buffer, weight.layout.shape(weight.rows, weight.cols), np.uint8)


def gemm_grid(outputs: Sequence[int], rows: int) -> int:
    """Blocks of a gemm, one for each work item; `outputs` of each weight."""
    return blocks(sum(-(-count // GEMM_OUTPUTS) for count in outputs) * -(-rows // GEMM_ROWS))


def gemm_shared(type_name: str) -> int:
    """Bytes of shared memory of the gemm for quantised weights: two of GemmStage in engine/kernels/gemm.cuh."""
    codes, activations = _GEMM_CODES[type_name], CHUNK + 16  # a row of each, the latter padded
    scales = CHUNK // BLOCK * (8 if type_name.endswith("_K") else 4)
    terms = CHUNK // BLOCK * (8 if type_name in ("Q4_K", "Q5_K") else 4)  # of an activation row: scales, sums if used
    return 2 * (GEMM_OUTPUTS * (codes + scales) + GEMM_ROWS * (activations + terms))


def _launch(
    stream: Stream,
    op: str,
    inputs: Sequence[KernelArgument],
    weight: Weight,
    rows: int,
    cols: int,
    path: MatmulPath,
    out: Buffer,
) -> None:
    require(op, "out", out, (rows, weight.rows), np.float32)
    if path == "auto":
        most = matvec_rows(stream.device.description, weight.type, weight.rows, weight.cols)
        path = "matvec" if rows <= most else batch_path(weight, rows)
    sizes = int32(op, "rows", rows), int32(op, "outputs", weight.rows), int32(op, "cols", cols)
    args = (out, *inputs, weight.buffer, *sizes)
    quantized = weight.type in _GEMM_CODES
    if path == "gemm":
        grid = gemm_grid([weight.rows], rows)
        threads, shared = (GEMM_THREADS, gemm_shared(weight.type)) if quantized else (FLOAT_GEMM_THREADS, 0)
        stream.launch(op, f"{op}_gemm", grid=grid, block=threads, args=args, shared=shared)
    elif path not in (("matvec", "few") if quantized else ("matvec",)):
        raise refuse(op, f"path is {path!r}, expected auto, matvec{', few' * quantized} or gemm")
    elif quantized:
        cut = _cut(stream, op, weight, rows, cols, few=path == "few")
        args = (*args, *cut.arguments)
        stream.launch(op, f"{op}_{path}", grid=cut.grid, block=cut.block, args=args, shared=cut.shared)
    else:
        grid = blocks(-(-weight.rows // FLOAT_OUTPUTS) * rows)
        threads = 32 * min(FLOAT_WARPS, weight.layout.shape(weight.rows, cols)[1])
        stream.launch(op, f"{op}_matvec", grid=grid, block=threads, args=args)


def _cut(stream: Stream, op: str, weight: Weight, rows: int, cols: int, *, few: bool) -> Geometry:
    if few:
        return _few.geometry(stream, op, [weight.type], rows, cols, items=_few.items_of([weight.rows], rows))
    strips = strips_of(weight.rows, cols)
    items = -(-weight.rows // (strips * STRIP_ROWS)) * rows
    return geometry(stream, op, [weight.type], cols, strips=strips, items=items)
