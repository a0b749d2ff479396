"""Launches quantize (engine/kernels/quantize.cu, NUMERICS 5)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.device import Buffer, KernelArgument, Stream
from engine.ops.checks import THREADS, WARPS, blocks, int32, refuse, require

BLOCK = 32  # values that share a scale
CHUNK = 128  # rows are padded to a multiple of it: the chunk of a matmul; a warp quantises one at a time
AHEAD = 4  # chunks that a warp has on their way, as in the kernel
MANY = 8192  # chunks; from here on there are warps enough for each to take several


def padded(cols: int) -> int:
    """The columns of a quantised row of `cols` values, pads included."""
    return -(-cols // CHUNK) * CHUNK


@dataclass(frozen=True, kw_only=True)
class Norm:
    """The factor of an rms_norm that is left to whoever reads its row: `scale` of NUMERICS 4."""

    squares: Buffer  # (dim / 32,) float32, the sums of squares of the row's blocks
    eps: float


@dataclass(frozen=True, kw_only=True)
class Quantized:
    """Rows of 8-bit activations; pads are zero. With a norm: one row whose scales and sums still lack its factor."""

    codes: Buffer  # (rows, padded) int8
    scales: Buffer  # (rows, padded / 32) float32, D of NUMERICS 5
    sums: Buffer  # (rows, padded / 32) float32, S of NUMERICS 5
    norm: Norm | None = None

    def view(self, rows: int, cols: int) -> Quantized:
        """Room for (rows, cols), cols padded, at the start of the same memory. Raises IndexError if it is too small."""
        return Quantized(
            codes=_first(self.codes, rows, cols),
            scales=_first(self.scales, rows, cols // BLOCK),
            sums=_first(self.sums, rows, cols // BLOCK),
        )


def quantize(stream: Stream, x: Buffer, *, out: Quantized) -> None:
    """x (rows, cols) float32, cols a multiple of 32 -> out, every pad written as zero."""
    rows, cols = require("quantize", "x", x, (None, None), np.float32)
    if cols % BLOCK:
        raise refuse("quantize", f"x has {cols} columns, expected a multiple of {BLOCK}")
    width = padded(cols)
    require_quantized("quantize", out, rows, width)
    sizes = int32("quantize", "rows", rows), int32("quantize", "cols", cols), int32("quantize", "padded", width)
    args = (out.codes, out.scales, out.sums, x, *sizes)
    grid = chunk_grid(rows * (width // CHUNK), AHEAD)
    stream.launch("quantize", "quantize", grid=grid, block=THREADS, args=args)


def chunk_grid(chunks: int, ahead: int) -> int:
    """The grid for so many chunks, a warp each, or `ahead` of them where there are many."""
    return blocks(chunks, WARPS * ahead if chunks >= MANY else WARPS)


def norm_arguments(op: str, x: Quantized, cols: int) -> tuple[KernelArgument, ...]:
    """What a kernel takes that finds the factor of a norm over `cols` columns by itself: squares, their count, eps."""
    if x.norm is None:
        return None, np.int32(0), np.float32(0)
    require(op, "squares", x.norm.squares, (cols // BLOCK,), np.float32)
    return x.norm.squares, int32(op, "blocks", cols // BLOCK), np.float32(x.norm.eps)


def require_quantized(op: str, x: Quantized, rows: int, width: int, *, normed: bool = True) -> None:
    """Checks that `x` holds rows of `width` values, pads included; and with `normed` that they lack no factor."""
    if normed and x.norm is not None:
        raise refuse(op, "the row lacks the factor of its norm, which this kernel does not find")
    require(op, "codes", x.codes, (rows, width), np.int8)
    require(op, "scales", x.scales, (rows, width // BLOCK), np.float32)
    require(op, "sums", x.sums, (rows, width // BLOCK), np.float32)


def _first(buffer: Buffer, rows: int, cols: int) -> Buffer:
    size = buffer.shape[0] * buffer.shape[1]
    return buffer.reshape(size).rows(0, rows * cols).reshape(rows, cols)
