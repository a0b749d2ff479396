"""rms_norm to 8 bits with one scale for 32 (NUMERICS 5): the row's own scale comes behind the quantisation.

Shapes    x (rows, dim), dim a multiple of 32, weight (dim,) -> codes (rows, dim), scales and sums (rows, dim / 32)
Rounding  x by weight, then that of quantize; the scale of rms_norm; its products with scales and sums
Order     that of rms_norm; none in quantize
Edges     a NaN makes every scale and sum of its row NaN; an infinity those of its block, and zeros beside it; squares
          that overflow (values past 1.8e19) give scales and sums of 0, NaN where those of quantize are infinite or NaN;
          a product with the weight that overflows while the squares do not gives an infinite scale and a NaN sum
"""

from __future__ import annotations

import numpy as np

from reference.floats import Array, single
from reference.ops import quantize, rms_norm


@np.errstate(all="ignore")
def exact(x: Array, weight: Array, *, eps: float) -> quantize.Quantized:
    """float32."""
    weighted = quantize.exact(single(x) * single(weight))
    scale = rms_norm.row_scale(single(x), eps)[:, None]
    return quantize.Quantized(codes=weighted.codes, scales=weighted.scales * scale, sums=weighted.sums * scale)


def ideal(x: Array, weight: Array, *, eps: float) -> None:
    """Nothing: the ideal matmul takes what rms_norm gives."""
