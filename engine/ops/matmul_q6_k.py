"""Launches matmul_q6_k (engine/kernels/matmul_q6_k.cu, NUMERICS 6)."""

from __future__ import annotations

from engine.device import Buffer, Stream
from engine.ops._matmul import MatmulPath, matmul_quantized
from engine.ops.quantize import Quantized
from engine.weights import Weight


def matmul_q6_k(stream: Stream, x: Quantized, weight: Weight, *, path: MatmulPath = "auto", out: Buffer) -> None:
    """x (rows, cols padded to a multiple of 128), weight (outputs, cols) Q6_K -> out (rows, outputs) float32."""
    matmul_quantized(stream, "matmul_q6_k", "Q6_K", x, weight, sums=False, path=path, out=out)
