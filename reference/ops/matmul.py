"""The matmul of the type of a weight. Meaning, rounding, order and edges stand in matmul_<type>.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from reference.floats import F32, F64
from reference.ops import (
    _matmul,
    matmul_bf16,
    matmul_f16,
    matmul_f32,
    matmul_q4_0,
    matmul_q4_k,
    matmul_q5_0,
    matmul_q5_k,
    matmul_q6_k,
    matmul_q8_0,
)
from reference.ops.activations import Activations
from reference.spec.model import Tensor

EXACT: Mapping[str, Callable[[Activations, Tensor], F32]] = MappingProxyType(
    {
        "F32": matmul_f32.exact,
        "F16": matmul_f16.exact,
        "BF16": matmul_bf16.exact,
        "Q8_0": matmul_q8_0.exact,
        "Q4_0": matmul_q4_0.exact,
        "Q5_0": matmul_q5_0.exact,
        "Q4_K": matmul_q4_k.exact,
        "Q5_K": matmul_q5_k.exact,
        "Q6_K": matmul_q6_k.exact,
    }
)


def exact(x: Activations, weight: Tensor) -> F32:
    """x (rows, cols) by weight (outputs, cols) -> (rows, outputs), float32."""
    return EXACT[weight.type](x, weight)


def ideal(x: Activations, weight: Tensor) -> F64:
    """The same in float64, which is one formula for all types."""
    return _matmul.ideal(x, weight)
