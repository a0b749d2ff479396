"""Launches rms_norm_matmul_swiglu (engine/kernels/rms_norm_matmul_swiglu.cu, NUMERICS 4, 5, 6 and 11)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops._matvec import THREADS, geometry
from engine.ops.checks import int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized
from engine.weights import Weight

STRIPS = 4  # of a work item, 32 values of a row: two of 16 rows of gate and as many of up


def takes(gate: Weight, up: Weight) -> bool:
    """Whether there is a kernel for these weights: quantised, both of one type."""
    return gate.quantized and gate.type == up.type and gate.rows % BLOCK == 0 and gate.cols % BLOCK == 0


def rms_norm_matmul_swiglu(
    stream: Stream, x: Buffer, weight: Buffer, gate: Weight, up: Weight, *, eps: float, out: Quantized
) -> None:
    """x (rows, dim) float32 through rms_norm with weight (dim,) and quantize; by gate and by up (ff, dim); swiglu of the two,
    quantised -> out (rows, ff padded)."""
    op = "rms_norm_matmul_swiglu"
    if not takes(gate, up):
        raise refuse(op, f"no kernel for {gate.type} and {up.type} weights of {gate.rows} rows")
    rows, dim = require(op, "x", x, (None, gate.cols), np.float32)
    require(op, "weight", weight, (dim,), np.float32)
    width, out_width = padded(dim), padded(gate.rows)
    require_quantized(op, out, rows, out_width)
    for matrix in (gate, up):
        require(op, f"weight {matrix.name}", matrix.buffer, gate.layout.shape(gate.rows, dim), np.uint8)
    cut = geometry(stream, op, [gate.type], width, strips=STRIPS, items=rows * (gate.rows // BLOCK))
    args = (
        out.codes, out.scales, out.sums, x, weight, gate.buffer, up.buffer, int32(op, "rows", rows),
        int32(op, "cols", width), int32(op, "dim", dim), int32(op, "ff", gate.rows), int32(op, "padded", out_width),
        cut.span, np.float32(eps),
    )  # fmt: skip
    kernel = f"{op}_{gate.type.lower()}_matvec"
    stream.launch(op, kernel, grid=cut.grid, block=THREADS, args=args, shared=cut.shared)
