"""The matmul of the type of a weight. Shapes, checks and the choice of a kernel stand in _matmul.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from engine.device import Buffer, Stream
from engine.ops._matmul import MatmulPath
from engine.ops.checks import refuse
from engine.ops.matmul_bf16 import matmul_bf16
from engine.ops.matmul_f16 import matmul_f16
from engine.ops.matmul_f32 import matmul_f32
from engine.ops.matmul_q4_0 import matmul_q4_0
from engine.ops.matmul_q4_k import matmul_q4_k
from engine.ops.matmul_q5_0 import matmul_q5_0
from engine.ops.matmul_q5_k import matmul_q5_k
from engine.ops.matmul_q6_k import matmul_q6_k
from engine.ops.matmul_q8_0 import matmul_q8_0
from engine.ops.quantize import Quantized
from engine.weights import Weight

__all__ = ["MatmulPath", "matmul"]

_FLOAT: Mapping[str, Callable[..., None]] = MappingProxyType(
    {"F32": matmul_f32, "F16": matmul_f16, "BF16": matmul_bf16}
)
_QUANTIZED: Mapping[str, Callable[..., None]] = MappingProxyType(
    {
        "Q8_0": matmul_q8_0,
        "Q4_0": matmul_q4_0,
        "Q5_0": matmul_q5_0,
        "Q4_K": matmul_q4_k,
        "Q5_K": matmul_q5_k,
        "Q6_K": matmul_q6_k,
    }
)


def matmul(stream: Stream, x: Quantized | Buffer, weight: Weight, *, path: MatmulPath = "auto", out: Buffer) -> None:
    """x by weight (outputs, cols) -> out (rows, outputs) float32.

    x is what engine.ops.activations gives for the weight: 8-bit rows for quantised types, float rows for the others.
    `path`: auto (by the number of rows), matvec, few (quantised weights only) or gemm; the bits do not depend on it.
    """
    launch = _QUANTIZED.get(weight.type) if isinstance(x, Quantized) else _FLOAT.get(weight.type)
    if launch is None:
        kind = "quantised" if isinstance(x, Quantized) else "float"
        raise refuse("matmul", f"weight {weight.name} is {weight.type}, which does not take {kind} activations")
    launch(stream, x, weight, path=path, out=out)
