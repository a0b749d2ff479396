"""Launches matmul_bf16 (engine/kernels/matmul_bf16.cu, NUMERICS 6)."""

from __future__ import annotations

from engine.device import Buffer, Stream
from engine.ops._matmul import MatmulPath, matmul_float
from engine.weights import Weight


def matmul_bf16(stream: Stream, x: Buffer, weight: Weight, *, path: MatmulPath = "auto", out: Buffer) -> None:
    """x (rows, cols) float32, weight (outputs, cols) BF16 -> out (rows, outputs) float32; any cols."""
    matmul_float(stream, "matmul_bf16", "BF16", x, weight, path=path, out=out)
