"""The input of a group of matmuls: quantised once if any consumer holds quantised weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.device import Buffer, Stream
from engine.ops.quantize import Quantized, padded, quantize
from engine.ops.rms_norm_quantize import rms_norm_quantize
from engine.weights import Weight


@dataclass(frozen=True, kw_only=True)
class Activations:
    """Float rows and, where a consumer needs them, their 8-bit form."""

    values: Buffer  # (rows, cols) float32
    quantized: Quantized | None

    def of(self, weight: Weight) -> Quantized | Buffer:
        """The form that `weight` multiplies."""
        if not weight.quantized:
            return self.values
        assert self.quantized is not None, "prepared without this consumer"
        return self.quantized


def activations(stream: Stream, values: Buffer, consumers: Iterable[Weight], *, scratch: Quantized) -> Activations:
    """Quantise `values` (rows, cols) into `scratch` if one of the consumers multiplies 8-bit activations."""
    if not any(weight.quantized for weight in consumers):
        return Activations(values=values, quantized=None)
    rows, cols = values.shape
    out = scratch.view(rows, padded(cols))
    quantize(stream, values, out=out)
    return Activations(values=values, quantized=out)


def normed_activations(
    stream: Stream,
    x: Buffer,
    weight: Buffer,
    values: Buffer,
    consumers: Iterable[Weight],
    *,
    eps: float,
    scratch: Quantized,
) -> Activations:
    """The same for `values` that are rms_norm of x (rows, dim) by `weight`: what is quantised is made of x."""
    if not any(consumer.quantized for consumer in consumers):
        return Activations(values=values, quantized=None)
    rows, dim = x.shape
    out = scratch.view(rows, padded(dim))
    rms_norm_quantize(stream, x, weight, eps=eps, out=out)
    return Activations(values=values, quantized=out)
