"""Launches attention (engine/kernels/attention.cu) and its end, attention_quantize.cu (NUMERICS 10 and 5)."""

from __future__ import annotations

import numpy as np

from engine.device import Buffer, Stream
from engine.ops.attention import Scratch, checked_step, launch_splits
from engine.ops.checks import blocks, int32, refuse
from engine.ops.quantize import BLOCK, Quantized, padded, require_quantized


def attention_quantize(
    stream: Stream,
    q: Buffer,
    keys: Buffer,
    values: Buffer,
    position: Buffer,
    *,
    scale: np.float32,
    scratch: Scratch,
    out: Quantized,
) -> None:
    """As attention in its variant "split", with a head_dim that is a multiple of 32; out is the 8-bit form."""
    op = "attention_quantize"
    step = checked_step(q, keys, values, position, scale)
    if step.head_dim % BLOCK:
        raise refuse(op, f"head_dim is {step.head_dim}, expected a multiple of {BLOCK}")
    width = padded(step.heads * step.head_dim)
    require_quantized(op, out, step.rows, width)
    launch_splits(stream, step, scratch)
    sizes = (np.int32(step.rows), np.int32(step.heads), np.int32(step.head_dim), np.int32(step.context))
    args = (out.codes, out.scales, out.sums, *scratch.parts, step.position, *sizes, int32(op, "padded", width))
    grid = blocks(step.rows * step.heads)
    stream.launch(op, "attention_combine_quantize", grid=grid, block=step.head_dim, args=args)
