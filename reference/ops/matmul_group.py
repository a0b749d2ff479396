"""Products of the same activations with several weights, each perhaps with something added (NUMERICS 6 and 7).

Shapes    x (rows, cols), weights (outputs, cols) each, added None or as add takes it -> (rows, outputs) each
Rounding  that of each matmul and of add
Order     that of each matmul; the addend last
Edges     those of the two
"""

from __future__ import annotations

from collections.abc import Sequence

from reference.floats import F32, F64, Array
from reference.ops import add, matmul
from reference.ops.activations import Activations
from reference.spec.model import Tensor


def exact(x: Activations, weights: Sequence[Tensor], added: Sequence[Array | None]) -> list[F32]:
    """float32."""
    products = [matmul.exact(x, weight) for weight in weights]
    return [y if other is None else add.exact(y, other) for y, other in zip(products, added, strict=True)]


def ideal(x: Activations, weights: Sequence[Tensor], added: Sequence[Array | None]) -> list[F64]:
    """float64."""
    products = [matmul.ideal(x, weight) for weight in weights]
    return [y if other is None else add.ideal(y, other) for y, other in zip(products, added, strict=True)]
