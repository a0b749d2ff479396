"""What matmuls of NUMERICS 6 share: chunks of 128 along K, folded from the left, and the step of each kind of block."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.floats import F32, F64, fma32, single
from reference.ops.activations import Activations
from reference.ops.quantize import BLOCK, Quantized
from reference.quant import HalvedBlocks, OffsetBlocks, ScaledBlocks, dequantize
from reference.spec.model import Tensor

CHUNK = 128
Step = Callable[[slice, slice, int, F32], F32]  # (rows, outputs, index, A) -> A
# Outputs worked on at a time, as rows by columns: they stay in a core's cache, and a product of 16 by 32 by 512 is so
# small that OpenBLAS uses one thread, on a busy machine many times faster than two that wait for each other.
_TILE_ROWS, _TILE_OUTPUTS = 16, 512


def stored(weight: Tensor, type_name: str) -> NDArray[np.uint8]:
    """The bytes of a weight, which must be of this type."""
    if weight.type != type_name:
        raise TypeError(f"{weight.name} is {weight.type}, this matmul takes {type_name}")
    return weight.data


def scaled(x: Activations, w: ScaledBlocks) -> F32:
    """Q8_0, Q4_0, Q5_0: A = fmaf(fmul(d, D), I, A)."""
    q = _quantized(x, w.codes)

    def step(rows: slice, outputs: slice, b: int, a: F32) -> F32:
        return fma32(w.d[outputs, b] * q.scales[rows, b, None], _dot(q, rows, b, w.codes[outputs, b]), a)

    return _fold(len(q.codes), w.codes.shape[:2], CHUNK // BLOCK, step)


def offset(x: Activations, w: OffsetBlocks) -> F32:
    """Q4_K, Q5_K: A = fmaf(fmul(fmul(d, sc), D), I, A), then A = fmaf(-fmul(dmin, m), S, A)."""
    q = _quantized(x, w.codes)
    steps, minima = w.d * w.sc, -(w.dmin * w.m)

    def step(rows: slice, outputs: slice, b: int, a: F32) -> F32:
        a = fma32(steps[outputs, b] * q.scales[rows, b, None], _dot(q, rows, b, w.codes[outputs, b]), a)
        return fma32(minima[outputs, b], q.sums[rows, b, None], a)

    return _fold(len(q.codes), w.codes.shape[:2], CHUNK // BLOCK, step)


def halved(x: Activations, w: HalvedBlocks) -> F32:
    """Q6_K: A = fmaf(fmul(d, D), J, A), J the two halves' dot products by their integer scales."""
    q = _quantized(x, w.codes)
    weighted = w.codes * np.repeat(w.sc, BLOCK // 2, axis=-1)  # |sc * q| <= 2^12: J keeps below 2^24

    def step(rows: slice, outputs: slice, b: int, a: F32) -> F32:
        return fma32(w.d[outputs, b] * q.scales[rows, b, None], _dot(q, rows, b, weighted[outputs, b]), a)

    return _fold(len(q.codes), w.codes.shape[:2], CHUNK // BLOCK, step)


def floats(x: Activations, w: F32) -> F32:
    """F32, F16, BF16: A = fmaf(w, x, A)."""
    values, weights = single(x.values).astype(np.float64), np.ascontiguousarray(w.T, np.float64)  # exact

    def step(rows: slice, outputs: slice, k: int, a: F32) -> F32:
        return fma32(weights[k, outputs], values[rows, k, None], a)

    wide = max(_TILE_OUTPUTS, _TILE_ROWS * _TILE_OUTPUTS // max(1, len(values)))  # no BLAS here
    return _fold(len(values), w.shape, CHUNK, step, wide)


@np.errstate(all="ignore")
def ideal(x: Activations, weight: Tensor) -> F64:
    """float64 mathematics on the dequantised weights; the activations are not quantised."""
    return x.values.astype(np.float64) @ dequantize(weight).astype(np.float64).T


def _quantized(x: Activations, codes: NDArray[np.int8]) -> Quantized:
    if x.quantized is None:
        raise TypeError("quantised weights take quantised activations")
    if x.quantized.codes.shape[1] != codes.shape[1] * BLOCK:
        raise ValueError(f"rows of {x.quantized.codes.shape[1]} activations, {codes.shape[1] * BLOCK} weights")
    return x.quantized


def _dot(q: Quantized, rows: slice, b: int, codes: NDArray[np.integer[Any]]) -> F32:
    """float(I) of block b, (rows, outputs): every partial sum is a whole number below 2^24, so BLAS is exact here.

    A zero may come out of BLAS with either sign, which reaches no output: the fold of the chunks starts from +0.
    """
    a = q.codes[rows, b * BLOCK : (b + 1) * BLOCK].astype(np.float32)
    product: F32 = a @ codes.astype(np.float32).T
    return product


@np.errstate(all="ignore")
def _fold(rows: int, shape: tuple[int, ...], chunk: int, step: Step, wide: int = _TILE_OUTPUTS) -> F32:
    """y (rows, outputs): per chunk of steps A from +0 upwards, y = fadd(y, A) from +0; shape is (outputs, steps)."""
    outputs, steps = shape
    y = np.zeros((rows, outputs), np.float32)
    for m, n in itertools.product(_ranges(rows, _TILE_ROWS), _ranges(outputs, wide)):
        for first in range(0, steps, chunk):
            a = np.zeros_like(y[m, n])
            for i in range(first, min(first + chunk, steps)):
                a = step(m, n, i, a)
            y[m, n] += a
    return y


def _ranges(count: int, size: int) -> list[slice]:
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]


def float_weights(weight: Tensor, type_name: str) -> F32:
    """F32, F16 or BF16 weights as float32 (outputs, cols), exact."""
    stored(weight, type_name)
    return dequantize(weight)
