"""Launches matmul_swiglu (engine/kernels/matmul_swiglu.cu, NUMERICS 6, 11 and 5)."""

from __future__ import annotations

import numpy as np

from engine.device import KernelArgument, Stream
from engine.ops import _few
from engine.ops._matvec import Geometry, geometry
from engine.ops.checks import int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, norm_arguments, padded, require_quantized
from engine.weights import Weight

STRIPS = 4  # of a work item, 32 values of a row: two of 16 rows of gate and as many of up


def takes(gate: Weight, up: Weight) -> bool:
    """Whether there is a kernel for these weights: quantised, both of one type."""
    return gate.quantized and gate.type == up.type and gate.rows % BLOCK == 0


def matmul_swiglu(stream: Stream, x: Quantized, gate: Weight, up: Weight, *, out: Quantized) -> None:
    """x (rows, cols padded to a multiple of 128) by gate and by up (ff, cols), swiglu, -> out (rows, ff padded).

    One row may lack the factor of its norm.
    """
    op = "matmul_swiglu"
    if not takes(gate, up):
        raise refuse(op, f"no kernel for {gate.type} and {up.type} weights of {gate.rows} rows")
    rows, width, out_width = x.codes.shape[0], padded(gate.cols), padded(gate.rows)
    require_quantized(op, x, rows, width, normed=rows > 1)
    require_quantized(op, out, rows, out_width)
    for weight in (gate, up):
        require(op, f"weight {weight.name}", weight.buffer, gate.layout.shape(gate.rows, gate.cols), np.uint8)
    sizes = (
        int32(op, "rows", rows), int32(op, "cols", width), int32(op, "ff", gate.rows), int32(op, "padded", out_width),
    )  # fmt: skip
    few, items = rows > 1, gate.rows // BLOCK
    cut: Geometry
    if few:
        cut = _few.geometry(stream, op, [gate.type], rows, width, items={STRIPS: _few.bands(rows) * items})
    else:
        cut = geometry(stream, op, [gate.type], width, strips=STRIPS, items=items)
    args: list[KernelArgument] = [
        out.codes, out.scales, out.sums, x.codes, x.scales, x.sums, gate.buffer, up.buffer, *sizes, *cut.arguments[1:]
    ]  # fmt: skip
    if not few:
        args += norm_arguments(op, x, gate.cols)
    kernel = f"{op}_{gate.type.lower()}_{'few' if few else 'matvec'}"
    stream.launch(op, kernel, grid=cut.grid, block=cut.block, args=args, shared=cut.shared)
