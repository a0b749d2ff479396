"""y[m, n] = sum over k of x[m, k] weight[n, k] with Q6_K weights (NUMERICS 6).

Shapes    x (rows, cols), cols a multiple of 256; weight (outputs, cols) -> (rows, outputs)
Rounding  product of the scales, one fmaf per block; sum of chunks; 6-bit codes and 8-bit scales meet as integers
Order     blocks of 32 within a chunk of 128 ascending, chunks from the left
Edges     a NaN or an infinity in a block of x or in a scale makes the outputs that read it NaN or infinite
"""

from __future__ import annotations

from reference.floats import F32, F64
from reference.ops import _matmul
from reference.ops.activations import Activations
from reference.quant import q6_k
from reference.spec.model import Tensor


def exact(x: Activations, weight: Tensor) -> F32:
    """float32 from 8-bit activations, in the order of NUMERICS 6."""
    return _matmul.halved(x, q6_k.decode(_matmul.stored(weight, "Q6_K")))


def ideal(x: Activations, weight: Tensor) -> F64:
    """float64."""
    return _matmul.ideal(x, weight)
