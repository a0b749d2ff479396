"""Codecs of the weight types. A module per block type has `decode` (codes and scales) and `encode`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from reference.quant import floats, q4_0, q4_k, q5_0, q5_k, q6_k, q8_0
from reference.quant.blocks import F32, U8, HalvedBlocks, OffsetBlocks, ScaledBlocks
from reference.spec.layout import decode_floats
from reference.spec.model import Tensor

__all__ = ["HalvedBlocks", "OffsetBlocks", "ScaledBlocks", "dequantize", "dequantize_rows", "encode_rows"]

_DECODERS: Mapping[str, Callable[[U8], ScaledBlocks | OffsetBlocks | HalvedBlocks]] = MappingProxyType(
    {
        "Q8_0": q8_0.decode,
        "Q4_0": q4_0.decode,
        "Q5_0": q5_0.decode,
        "Q4_K": q4_k.decode,
        "Q5_K": q5_k.decode,
        "Q6_K": q6_k.decode,
    }
)
_ENCODERS: Mapping[str, Callable[[F32], U8]] = MappingProxyType(
    {
        "F32": floats.encode_f32,
        "F16": floats.encode_f16,
        "BF16": floats.encode_bf16,
        "Q8_0": q8_0.encode,
        "Q4_0": q4_0.encode,
        "Q5_0": q5_0.encode,
        "Q4_K": q4_k.encode,
        "Q5_K": q5_k.encode,
        "Q6_K": q6_k.encode,
    }
)


def dequantize(tensor: Tensor) -> F32:
    """The weights of a matrix, (rows, cols), in the order of operations of NUMERICS 3."""
    return dequantize_rows(tensor.type, tensor.data)


def dequantize_rows(type_name: str, data: U8) -> F32:
    """Stored rows (rows, bytes per row) of a type of layout.WEIGHT_TYPES as float32 (rows, cols), by NUMERICS 3."""
    if type_name not in _DECODERS:
        return decode_floats(type_name, data)
    blocks = _DECODERS[type_name](data)
    q = blocks.codes.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite or NaN scale propagates
        match blocks:
            case ScaledBlocks():
                weights = blocks.d[..., None] * q
            case OffsetBlocks():
                weights = (blocks.d * blocks.sc)[..., None] * q - (blocks.dmin * blocks.m)[..., None]
            case HalvedBlocks():
                steps = blocks.d[..., None] * blocks.sc.astype(np.float32)
                weights = np.repeat(steps, 16, axis=-1) * q
    return weights.reshape(len(data), -1)


def encode_rows(type_name: str, values: F32) -> U8:
    """Float32 (rows, cols) as stored rows (rows, bytes per row).

    Raises ValueError if cols is not a multiple of the type's block or a value is NaN or too large for a block type.
    """
    return _ENCODERS[type_name](values)
