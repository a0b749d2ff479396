"""The two forms of the oracle: one value holds every operation, and one family page runs either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.floats import F64, Array
from reference.ops import (
    add,
    argmax,
    attention,
    embedding,
    kv_append,
    matmul,
    qk_norm,
    quantize,
    rms_norm,
    rms_norm_quantize,
    rope,
    swiglu,
)
from reference.ops.activations import Activations, activations
from reference.spec.model import Tensor
from reference.spec.rope_table import Rope, rope_table


@dataclass(frozen=True, kw_only=True)
class Form:
    """The operations of a family page. Signatures are those of reference.ops."""

    name: str
    dtype: type[np.float32] | type[np.float64]  # of everything but a float16 cache
    rope_table: Callable[[Rope, int], tuple[Array, Array]]
    embedding: Callable[[NDArray[np.integer[Any]], Tensor], Array]
    rms_norm: Callable[..., Array]
    rms_norm_quantize: Callable[..., quantize.Quantized | None]
    quantize: Callable[[Array], quantize.Quantized | None]
    matmul: Callable[[Activations, Tensor], Array]
    add: Callable[[Array, Array], Array]
    qk_norm: Callable[..., Array]
    rope: Callable[[Array, Array, Array, int], Array]
    kv_append: Callable[..., None]
    attention: Callable[..., Array]
    swiglu: Callable[[Array, Array], Array]
    argmax: Callable[[Array], NDArray[np.int32]]

    def activations(self, values: Array, *consumers: Tensor) -> Activations:
        """The input of matmuls with `consumers`, quantised once if one of them and this form ask for it."""
        return activations(values, consumers, quantized=lambda: self.quantize(values))

    def normed(self, x: Array, weight: Array, *consumers: Tensor, eps: float) -> Activations:
        """rms_norm of x as the input of matmuls with `consumers`; quantised ones multiply rms_norm_quantize of it."""
        return activations(
            self.rms_norm(x, weight, eps=eps),
            consumers,
            quantized=lambda: self.rms_norm_quantize(x, weight, eps=eps),
        )


def true_rope_table(rope: Rope, positions: int) -> tuple[F64, F64]:
    """cos and sin in float64 from NumPy's own functions: independent of reference.spec.rope_table.

    NumPy's float64 pow, cos and sin are good to an ulp or two; an angle of 2^17 radians then carries 1e-11.
    """
    half = rope.n_rot // 2
    pair = np.arange(half, dtype=np.float64)
    frequency = np.float64(rope.theta) ** (-pair / half)
    magnitude = np.float64(rope.attn_factor)
    if rope.scaling == "linear":
        frequency = frequency / rope.factor
    elif rope.scaling == "yarn":
        turns = rope.original_context / (2 * np.pi * np.array([rope.beta_fast, rope.beta_slow]))
        fast, slow = rope.n_rot * np.log(turns) / (2 * np.log(rope.theta))  # the pairs that make beta turns
        low, high = max(np.floor(fast), 0), min(np.ceil(slow), rope.n_rot - 1)
        kept = 1 - np.clip((pair - low) / max(high - low, 0.001), 0, 1)
        frequency = frequency * kept + frequency / rope.factor * (1 - kept)
        magnitude = magnitude * (1 + 0.1 * np.log(rope.factor))
    angle = np.arange(positions, dtype=np.float64)[:, None] * frequency
    return magnitude * np.cos(angle), magnitude * np.sin(angle)


EXACT = Form(
    name="exact",
    dtype=np.float32,
    rope_table=rope_table,
    embedding=embedding.exact,
    rms_norm=rms_norm.exact,
    rms_norm_quantize=rms_norm_quantize.exact,
    quantize=quantize.exact,
    matmul=matmul.exact,
    add=add.exact,
    qk_norm=qk_norm.exact,
    rope=rope.exact,
    kv_append=kv_append.exact,
    attention=attention.exact,
    swiglu=swiglu.exact,
    argmax=argmax.exact,
)
"""float32 in the order of NUMERICS.md: the answer to the last bit."""

IDEAL = Form(
    name="ideal",
    dtype=np.float64,
    rope_table=true_rope_table,
    embedding=embedding.ideal,
    rms_norm=rms_norm.ideal,
    rms_norm_quantize=rms_norm_quantize.ideal,
    quantize=quantize.ideal,
    matmul=matmul.ideal,
    add=add.ideal,
    qk_norm=qk_norm.ideal,
    rope=rope.ideal,
    kv_append=kv_append.ideal,
    attention=attention.ideal,
    swiglu=swiglu.ideal,
    argmax=argmax.ideal,
)
"""float64 mathematics: what the exact form approximates."""
