"""Scales for K-quants: least squares over a few candidate grids, in float32 operations whose order is fixed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from reference.quant.blocks import F32, U8, fold, reciprocal_or_zero

I8 = NDArray[np.int8]

AFFINE_STEPS = np.arange(-8, 9, dtype=np.float32) / np.float32(8)  # added to the number of levels
SYMMETRIC_STEPS = np.arange(-9, 10, dtype=np.float32) / np.float32(8)  # added to 32
COLUMNS = 4096  # worked on at once, so that a candidate stays in cache


def affine_super_blocks(x: F32, levels: int) -> tuple[F32, F32, U8, U8, U8]:
    """Encode super-blocks (n, 256) with weight = (d * sc) * q - (dmin * m), 0 <= q <= levels.

    Returns d (n,), dmin (n,) as float32 values of float16, sc (n, 8), m (n, 8) and codes (n, 8, 32).
    """
    columns = np.ascontiguousarray(x.reshape(-1, 32).T)  # (32, blocks)
    fits = [_fit_affine(columns[:, part], levels) for part in _parts(columns.shape[1])]
    scale = np.concatenate([fit[0] for fit in fits]).reshape(-1, 8)
    minimum = np.concatenate([fit[1] for fit in fits]).reshape(-1, 8)
    d, sc = _six_bits(scale)
    dmin, m = _six_bits(minimum)
    step = (d[:, None] * sc).reshape(-1)
    offset = (dmin[:, None] * m).reshape(-1)
    codes = np.rint((columns + offset) * reciprocal_or_zero(step)).clip(0, levels).astype(np.uint8)
    return d, dmin, sc, m, codes.T.reshape(-1, 8, 32)


def symmetric_super_blocks(x: F32) -> tuple[F32, I8, I8]:
    """Encode super-blocks (n, 256) with weight = (d * sc) * q, -32 <= q <= 31, one sc for each 16.

    Returns d (n,) as float32 values of float16, sc (n, 16) and codes (n, 256).
    """
    columns = np.ascontiguousarray(x.reshape(-1, 16).T)  # (16, halves)
    scale = np.concatenate([_fit_symmetric(columns[:, part]) for part in _parts(columns.shape[1])]).reshape(-1, 16)
    place = np.abs(scale).argmax(axis=1)
    largest = np.take_along_axis(scale, place[:, None], axis=1)[:, 0]
    d = _to_half(largest / -128)
    sc = np.rint(scale * reciprocal_or_zero(d)[:, None]).clip(-128, 127)
    step = (d[:, None] * sc).reshape(-1)
    codes = np.rint(columns * reciprocal_or_zero(step)).clip(-32, 31).astype(np.int8)
    return d, sc.astype(np.int8), codes.T.reshape(-1, 256)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + COLUMNS) for start in range(0, max(count, 1), COLUMNS))


def _to_half(values: NDArray[np.floating]) -> F32:
    return values.astype(np.float16).astype(np.float32)


def _six_bits(values: F32) -> tuple[F32, U8]:
    """Non-negative values (n, 8) as unit (n,) times whole numbers 0 .. 63."""
    unit = _to_half(values.max(axis=1) / np.float32(63))
    return unit, np.rint(values * reciprocal_or_zero(unit)[:, None]).clip(0, 63).astype(np.uint8)


def _fit_affine(x: F32, levels: int) -> tuple[F32, F32]:
    """Scale and minimum, both >= 0, of each column of (32, n): the candidate with the least squared error.

    A candidate assigns codes by a trial scale, then takes the least-squares scale and minimum for these codes.
    """
    low = np.minimum(x.min(axis=0), 0)
    width = x.max(axis=0).clip(0) - low
    total = fold(x)
    best_scale, best_minimum = width / np.float32(levels), -low
    best_error = np.full_like(low, np.inf)
    for step in AFFINE_STEPS:
        codes = np.rint((x - low) * ((levels + step) * reciprocal_or_zero(width))).clip(0, levels)
        scale, minimum = _least_squares(codes, fold(codes), fold(codes * codes), fold(codes * x), total)
        error = scale * codes - minimum - x
        error = fold(error * error)
        better = (error < best_error) & (scale > 0)
        best_scale = np.where(better, scale, best_scale)
        best_minimum = np.where(better, minimum, best_minimum)
        best_error = np.where(better, error, best_error)
    return best_scale, best_minimum


def _least_squares(codes: F32, sum_q: F32, sum_qq: F32, sum_qx: F32, sum_x: F32) -> tuple[F32, F32]:
    """Scale s and minimum m >= 0 that make s * q - m closest to x."""
    count = np.float32(len(codes))
    determinant = count * sum_qq - sum_q * sum_q
    scale = (count * sum_qx - sum_q * sum_x) * reciprocal_or_zero(determinant)
    minimum = (scale * sum_q - sum_x) / count
    through_zero = sum_qx * reciprocal_or_zero(sum_qq)
    free = (minimum >= 0) & (determinant > 0)
    return np.where(free, scale, through_zero), np.where(free, minimum, np.float32(0))


def _fit_symmetric(x: F32) -> F32:
    """The scale of each column of (16, n), of either sign, that leaves the least squared error."""
    place = np.abs(x).argmax(axis=0)
    extreme = np.take_along_axis(x, place[None], axis=0)[0]
    best: F32 = extreme / np.float32(-32)
    best_gain = np.full_like(best, -1)
    for step in SYMMETRIC_STEPS:
        codes = np.rint(x * (-(32 + step) * reciprocal_or_zero(extreme))).clip(-32, 31)
        along, length = fold(codes * x), fold(codes * codes)
        scale = along * reciprocal_or_zero(length)
        gain = scale * along  # how much of the sum of squares the scaled codes explain
        better = gain > best_gain
        best = np.where(better, scale, best)
        best_gain = np.where(better, gain, best_gain)
    return best
