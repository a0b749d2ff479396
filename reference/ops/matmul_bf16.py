"""y[m, n] = sum over k of x[m, k] weight[n, k] with BF16 weights (NUMERICS 6).

Shapes    x (rows, cols), any cols; weight (outputs, cols) -> (rows, outputs)
Rounding  one fmaf per k; sum of chunks
Order     k within a chunk of 128 ascending, chunks from the left
Edges     a NaN or an infinity in x or weight reaches the outputs that read it; 0 times infinity is NaN
"""

from __future__ import annotations

from reference.floats import F32, F64
from reference.ops import _matmul
from reference.ops.activations import Activations
from reference.spec.model import Tensor


def exact(x: Activations, weight: Tensor) -> F32:
    """float32 from float32 activations, in the order of NUMERICS 6."""
    return _matmul.floats(x, _matmul.float_weights(weight, "BF16"))


def ideal(x: Activations, weight: Tensor) -> F64:
    """float64."""
    return _matmul.ideal(x, weight)
