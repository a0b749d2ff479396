"""Launches matmul_group (engine/kernels/matmul_group.cu, NUMERICS 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops import _few
from engine.ops._crossover import matvec_rows
from engine.ops._matmul import GEMM_THREADS, gemm_grid, gemm_shared
from engine.ops._matvec import STRIP_ROWS, Geometry, geometry, strips_of
from engine.ops.checks import int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, norm_arguments, padded, require_quantized
from engine.weights import Weight

OP = "matmul_group"
PAIRS = {("Q4_K", "Q6_K"), ("Q5_K", "Q6_K")}  # types that share a kernel for a few rows; each also has its own
MOST = 3  # products of a launch


@dataclass(frozen=True, kw_only=True)
class Product:
    """out (rows, outputs) = x by weight, plus `added`: (rows, outputs), perhaps out, or (outputs,) for all rows."""

    weight: Weight
    out: Buffer
    added: Buffer | None = None


def groupable(weights: Sequence[Weight], rows: int) -> bool:
    """Whether one launch takes these weights, in this order: quantised, of one type or the last of a partner type.

    Two types share a launch for the rows of a band at most.
    """
    types = [weight.type for weight in weights]
    if len(types) > MOST or not all(weight.quantized for weight in weights) or len(set(types[: MOST - 1])) != 1:
        return False
    return types[-1] == types[0] or (len(types) == MOST and (types[0], types[-1]) in PAIRS and rows <= _few.ROWS)


def matmul_group(stream: Stream, x: Quantized, products: Sequence[Product], *, ahead: bool = False) -> None:
    """One to three products of x (rows, cols padded to a multiple of 128) with weights that are `groupable`.

    One row is the matvec's, those of a band few's, more of them the gemm's, or where the GPU's table of the crossover
    says so the matvec's. ahead: a matvec lets what comes behind it start before what is in front of it has ended, and
    ask for its weights; worth it where that leaves many multiprocessors idle, as attention of one row does. One row may
    lack the factor of its norm.
    """
    weights = [product.weight for product in products]
    if not weights or not groupable(weights, x.codes.shape[0]):
        types = ", ".join(weight.type for weight in weights)
        raise refuse(OP, f"no kernel for weights of {types} and {x.codes.shape[0]} rows")
    args, rows, width = _arguments(x, products)
    path = _path(stream, weights, rows)
    kernel = f"{OP}_{weights[0].type.lower()}_{weights[-1].type.lower()}_{path}"
    if path == "gemm":
        grid = gemm_grid([weight.rows for weight in weights], rows)
        shared = max(gemm_shared(weight.type) for weight in weights)
        stream.launch(OP, kernel, grid=grid, block=GEMM_THREADS, args=args, shared=shared)
        return
    cut = _cut(stream, weights, rows, width, few=path == "few")
    args += cut.arguments
    if path == "matvec":
        args += [np.int32(ahead), *norm_arguments(OP, x, weights[0].cols)]
    stream.launch(OP, kernel, grid=cut.grid, block=cut.block, args=args, shared=cut.shared)


def _path(stream: Stream, weights: Sequence[Weight], rows: int) -> str:
    if 1 < rows <= _few.ROWS:
        return "few"
    gpu = stream.device.description
    most = min(matvec_rows(gpu, weight.type, weight.rows, weight.cols) for weight in weights)
    return "matvec" if rows <= max(1, most) else "gemm"


def _arguments(x: Quantized, products: Sequence[Product]) -> tuple[list[KernelArgument], int, int]:
    """What the kernels of all paths take, checked; the rows; the columns, pads included."""
    weights = [product.weight for product in products]
    cols, rows = weights[0].cols, x.codes.shape[0]
    width = padded(cols)
    require_quantized(OP, x, rows, width, normed=rows > 1)
    int32(OP, "blocks of activations", rows * (width // BLOCK))  # the gemm counts them
    strides = []
    for product in products:
        weight = product.weight
        shape = weight.layout.shape(weight.rows, cols)
        require(OP, f"weight {weight.name}", weight.buffer, shape, np.uint8)
        require(OP, "out", product.out, (rows, weight.rows), np.float32)
        whole = product.added is not None and len(product.added.shape) == 2
        if product.added is not None:
            require(OP, "added", product.added, (rows, weight.rows) if whole else (weight.rows,), np.float32)
        strides.append(int32(OP, "stride", weight.rows if whole else 0))
    missing = MOST - len(products)
    none: list[KernelArgument] = [None] * missing
    zero = [np.int32(0)] * missing
    args: list[KernelArgument] = [
        *(product.out for product in products), *none, x.codes, x.scales, x.sums,
        *(weight.buffer for weight in weights), *none, *(product.added for product in products), *none,
        int32(OP, "rows", rows), int32(OP, "cols", width),
        *(int32(OP, "outputs", weight.rows) for weight in weights), *zero, *strides, *zero,
    ]  # fmt: skip
    return args, rows, width


def _cut(stream: Stream, weights: Sequence[Weight], rows: int, cols: int, *, few: bool) -> Geometry:
    types, outputs = [weight.type for weight in weights], [weight.rows for weight in weights]
    if few:
        return _few.geometry(stream, OP, types, rows, cols, items=_few.items_of(outputs, rows))
    strips = strips_of(sum(outputs), cols)
    items = sum(-(-count // (strips * STRIP_ROWS)) for count in outputs)
    return geometry(stream, OP, types, cols, strips=strips, items=items * rows)
