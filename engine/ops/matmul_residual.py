"""Launches matmul_residual (engine/kernels/matmul_residual.cu, NUMERICS 6, 7, 4 and 5)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops._matvec import geometry
from engine.ops.checks import int32, refuse, require
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized
from engine.weights import Weight

OP = "matmul_residual"
STRIPS = 2  # of a work item, 32 outputs: a block that is quantised


def takes(stream: Stream, weight: Weight) -> bool:
    """Whether there is a kernel for this weight, and no multiprocessor has two items to do while others have one."""
    return weight.quantized and weight.rows % BLOCK == 0 and weight.rows // BLOCK <= stream.device.multiprocessors


def matmul_residual(
    stream: Stream, a: Quantized, weight: Weight, gains: Buffer, *, x: Buffer, out: Quantized, ahead: bool = False
) -> None:
    """x (1, dim) += a (1, cols padded) by weight (dim, cols); and out: rms_norm_quantize of x by `gains` (dim,).

    `out` has a norm: it lacks the scale of the row, whose squares are left there. ahead: as in matmul_group.
    """
    if not weight.quantized or weight.rows % BLOCK:
        raise refuse(OP, f"no kernel for {weight.type} weights of {weight.rows} rows")
    width, out_width = padded(weight.cols), padded(weight.rows)
    require_quantized(OP, a, 1, width)
    require_quantized(OP, out, 1, out_width, normed=False)
    if out.norm is None:
        raise refuse(OP, "out has no norm, expected room for the sums of squares of its row")
    require(OP, "squares", out.norm.squares, (weight.rows // BLOCK,), np.float32)
    require(OP, "x", x, (1, weight.rows), np.float32)
    require(OP, "gains", gains, (weight.rows,), np.float32)
    require(OP, f"weight {weight.name}", weight.buffer, weight.layout.shape(weight.rows, weight.cols), np.uint8)
    cut = geometry(stream, OP, [weight.type], width, strips=STRIPS, items=weight.rows // BLOCK, large=True)
    args = (
        x, out.codes, out.scales, out.sums, out.norm.squares, a.codes, a.scales, a.sums, weight.buffer, gains,
        int32(OP, "dim", weight.rows), int32(OP, "padded", out_width), int32(OP, "cols", width), cut.span,
        np.int32(ahead),
    )  # fmt: skip
    kernel = f"{OP}_{weight.type.lower()}_matvec"
    stream.launch(OP, kernel, grid=cut.grid, block=cut.block, args=args, shared=cut.shared)
