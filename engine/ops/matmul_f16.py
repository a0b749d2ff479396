"""Launches matmul_f16 (engine/kernels/matmul_f16.cu, NUMERICS 6)."""

from __future__ import annotations

from engine.device import Buffer, Stream
from engine.ops._matmul import MatmulPath, matmul_float
from engine.weights import Weight


def matmul_f16(stream: Stream, x: Buffer, weight: Weight, *, path: MatmulPath = "auto", out: Buffer) -> None:
    """x (rows, cols) float32, weight (outputs, cols) F16 -> out (rows, outputs) float32; any cols."""
    matmul_float(stream, "matmul_f16", "F16", x, weight, path=path, out=out)
