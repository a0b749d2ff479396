"""y[m, n] = sum over k of x[m, k] weight[n, k] with Q5_0 weights (NUMERICS 6).

Shapes    x (rows, cols), cols a multiple of 32; weight (outputs, cols) -> (rows, outputs)
Rounding  product of the two scales, one fmaf per block; sum of chunks
Order     blocks of 32 within a chunk of 128 ascending, chunks from the left
Edges     a NaN or an infinity in a block of x or in a scale makes the outputs that read it NaN or infinite
"""

from __future__ import annotations

from reference.floats import F32, F64
from reference.ops import _matmul
from reference.ops.activations import Activations
from reference.quant import q5_0
from reference.spec.model import Tensor


def exact(x: Activations, weight: Tensor) -> F32:
    """float32 from 8-bit activations, in the order of NUMERICS 6."""
    return _matmul.scaled(x, q5_0.decode(_matmul.stored(weight, "Q5_0")))


def ideal(x: Activations, weight: Tensor) -> F64:
    """float64."""
    return _matmul.ideal(x, weight)
