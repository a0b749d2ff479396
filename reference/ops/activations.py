"""The input of a group of matmuls: quantised once if one of the consumers holds quantised weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reference.floats import Array
from reference.ops.quantize import Quantized
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Activations:
    """Float rows and, where a consumer needs them, their 8-bit form."""

    values: Array  # (rows, cols)
    quantized: Quantized | None = None


def activations(
    values: Array, consumers: Iterable[Tensor], *, quantized: Callable[[], Quantized | None]
) -> Activations:
    """`values` (rows, cols) for the matmuls with `consumers`; `quantized` gives their 8-bit form where one needs it."""
    needed = any(WEIGHT_TYPES[weight.type].quantized for weight in consumers)
    return Activations(values=values, quantized=quantized() if needed else None)
