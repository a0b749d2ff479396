"""Weights of random bits for matmuls and embeddings, and the shapes at which their kernels are looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor

Shape = tuple[int, int, int]  # outputs, cols, rows

ROWS = (1, 2, 5, 7, 8, 9, 16, 17, 33, 64, 65)
OUTPUTS = (1, 31, 32, 33, 127, 128, 129, 130)
_FLOOR = ((8, 256, 2), (33, 512, 5), (64, 1024, 17), (130, 2048, 40), (256, 512, 64))


def shapes(type_name: str) -> list[Shape]:
    """Every number of outputs, rows and columns that sits on or beside a border of a tile, warp, chunk or span."""
    block = WEIGHT_TYPES[type_name].block_elements
    widths: tuple[int, ...]
    if block == 256:
        widths = (256, 768, 1024, 2304)
        past_span = 29952
    elif block == 32:
        widths = (32, 96, 128, 704, 2112)
        past_span = 28544
    else:
        widths = (1, 5, 127, 129, 500)
        past_span = 6273
    found = [(outputs, widths[i % len(widths)], ROWS[i % len(ROWS)]) for i, outputs in enumerate(OUTPUTS)]
    found += [(33, widths[(i + 1) % len(widths)], rows) for i, rows in enumerate(ROWS)]
    found += [(34, width, 3) for width in widths]
    return [*dict.fromkeys([*found, *_FLOOR, (5, past_span, 2)])]


def weight(type_name: str, outputs: int, cols: int, *, seed: int = 0) -> Tensor:
    """Random bits as codes, random scales of any sign: among them zeros and subnormals, no infinity and no NaN."""
    rng = np.random.default_rng([seed, outputs, cols])
    kind = WEIGHT_TYPES[type_name]
    if kind.quantized:
        data = rng.integers(0, 256, outputs * kind.row_bytes(cols), dtype=np.uint8).view(kind.dtype)
        for field in {"d", "dmin"} & set(kind.dtype.names or ()):
            data[field] = _half_scales(rng, data.shape)
    else:
        data = _float_weights(rng, type_name, outputs * cols)
    rows = np.ascontiguousarray(data).view(np.uint8).reshape(outputs, kind.row_bytes(cols))
    return Tensor(name="weight", type=type_name, shape=(outputs, cols), data=rows)


def _half_scales(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float16]:
    scales = rng.uniform(-0.1, 0.1, shape).astype(np.float16)
    tiny = rng.integers(0, 1024, shape).astype(np.uint16).view(np.float16)
    return np.where(rng.random(shape) < 0.1, tiny, scales)


def _float_weights(rng: np.random.Generator, type_name: str, count: int) -> NDArray[np.generic]:
    values = rng.standard_normal(count) * np.where(rng.random(count) < 0.1, 1e-6, 0.05)
    if type_name == "BF16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    return values.astype(WEIGHT_TYPES[type_name].dtype)
