"""Launches matmul_group (engine/kernels/matmul_group.cu, NUMERICS 6 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops import _few
from engine.ops._matvec import STRIP_ROWS, THREADS, Geometry, geometry, strips_of
from engine.ops.checks import int32, refuse, require
from engine.ops.quantize import Quantized, padded, require_quantized
from engine.weights import Weight

PAIRS = {("Q4_K", "Q6_K"), ("Q5_K", "Q6_K")}  # types that share a kernel; each also has its own
MOST = 3  # products of a launch


@dataclass(frozen=True, kw_only=True)
class Product:
    """out (rows, outputs) = x by weight, plus `added`: (rows, outputs), perhaps out, or (outputs,) for all rows."""

    weight: Weight
    out: Buffer
    added: Buffer | None = None


def groupable(weights: Sequence[Weight]) -> bool:
    """Whether one launch takes these weights, in this order: quantised, of one type or the last of a partner type."""
    types = [weight.type for weight in weights]
    if len(types) > MOST or not all(weight.quantized for weight in weights) or len(set(types[: MOST - 1])) != 1:
        return False
    return types[-1] == types[0] or (len(types) == MOST and (types[0], types[-1]) in PAIRS)


def matmul_group(stream: Stream, x: Quantized, products: Sequence[Product]) -> None:
    """One to three products of x (rows, cols padded to a multiple of 128) with weights that are `groupable`."""
    op = "matmul_group"
    weights = [product.weight for product in products]
    if not weights or not groupable(weights):
        raise refuse(op, f"no kernel for weights of {', '.join(weight.type for weight in weights)}")
    cols, rows = weights[0].cols, x.codes.shape[0]
    width = padded(cols)
    require_quantized(op, x, rows, width)
    strides = []
    for product in products:
        weight = product.weight
        shape = weight.layout.shape(weight.rows, cols)
        require(op, f"weight {weight.name}", weight.buffer, shape, np.uint8)
        require(op, "out", product.out, (rows, weight.rows), np.float32)
        whole = product.added is not None and len(product.added.shape) == 2
        if product.added is not None:
            require(op, "added", product.added, (rows, weight.rows) if whole else (weight.rows,), np.float32)
        strides.append(int32(op, "stride", weight.rows if whole else 0))
    outputs = [int32(op, "outputs", weight.rows) for weight in weights]
    few = rows > 1
    cut = _cut(stream, op, weights, rows, width, few=few)
    missing = MOST - len(products)
    none: list[KernelArgument] = [None] * missing
    zero = [np.int32(0)] * missing
    args: list[KernelArgument] = [
        *(product.out for product in products), *none, x.codes, x.scales, x.sums,
        *(weight.buffer for weight in weights), *none, *(product.added for product in products), *none,
        int32(op, "rows", rows), int32(op, "cols", width), *outputs, *zero, *strides, *zero,
        int32(op, "strips", cut.strips), cut.span,
    ]  # fmt: skip
    kernel = f"{op}_{weights[0].type.lower()}_{weights[-1].type.lower()}_{'few' if few else 'matvec'}"
    stream.launch(op, kernel, grid=cut.grid, block=THREADS, args=args, shared=cut.shared)


def _cut(stream: Stream, op: str, weights: Sequence[Weight], rows: int, cols: int, *, few: bool) -> Geometry:
    types = [weight.type for weight in weights]
    strips = _few.strips_of(cols) if few else strips_of(sum(weight.rows for weight in weights), cols)
    items = sum(-(-weight.rows // (strips * STRIP_ROWS)) for weight in weights)
    if few:
        return _few.geometry(stream, op, types, rows, cols, strips=strips, items=items * _few.bands(rows))
    return geometry(stream, op, types, cols, strips=strips, items=items * rows)
