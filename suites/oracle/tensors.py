"""Weights for tests of single operations."""

from __future__ import annotations

import numpy as np

from reference.floats import F32
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from reference.quant import encode_rows
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor

TYPES = tuple(WEIGHT_TYPES)
QUANTIZED = tuple(name for name, kind in WEIGHT_TYPES.items() if kind.quantized)
FLOATS = tuple(name for name in TYPES if name not in QUANTIZED)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> F32:
    """Normal values, seeded by shape and seed."""
    values: F32 = (np.random.default_rng([seed, *shape]).standard_normal(shape) * scale).astype(np.float32)
    return values


def tensor(type_name: str, values: F32) -> Tensor:
    """`values` (rows, cols) stored in a type."""
    return Tensor(name="weight", type=type_name, shape=values.shape, data=encode_rows(type_name, values))


def raw_tensor(type_name: str, rows: int, cols: int, seed: int, largest: float = 4.0) -> Tensor:
    """Random bytes as codes and integer scales, random float16 scales up to `largest` of any sign."""
    kind = WEIGHT_TYPES[type_name]
    rng = np.random.default_rng([seed, rows, cols])
    blocks = rng.integers(0, 256, rows * kind.row_bytes(cols), dtype=np.uint8).view(kind.dtype)
    for field in ("d", "dmin"):
        if field in (kind.dtype.names or ()):
            blocks[field] = rng.uniform(-largest, largest, blocks.shape)
    return Tensor(
        name="weight",
        type=type_name,
        shape=(rows, cols),
        data=blocks.view(np.uint8).reshape(rows, kind.row_bytes(cols)),
    )


def activations(values: F32) -> Activations:
    """Both forms, where the width has whole blocks."""
    return Activations(values=values, quantized=None if values.shape[1] % 32 else quantize(values))
