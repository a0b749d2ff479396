"""The nine matmuls: against NUMERICS 6 number by number, over every shape rule, and at the edges of float32."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reference.floats import F32, bits
from reference.forms import EXACT, IDEAL
from reference.ops import matmul, rms_norm_quantize
from reference.ops.activations import Activations, activations
from reference.ops.quantize import exact as quantize
from reference.quant import HalvedBlocks, OffsetBlocks, ScaledBlocks, dequantize, q4_0, q4_k, q5_0, q5_k, q6_k, q8_0
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor
from suites.oracle import scalar, tensors

DECODERS: dict[str, Callable[[NDArray[np.uint8]], ScaledBlocks | OffsetBlocks | HalvedBlocks]] = {
    "Q8_0": q8_0.decode, "Q4_0": q4_0.decode, "Q5_0": q5_0.decode, "Q4_K": q4_k.decode, "Q5_K": q5_k.decode,
    "Q6_K": q6_k.decode,
}  # fmt: skip


def widths(type_name: str) -> list[int]:
    """One block, several chunks, and a short last chunk where the type's block allows one."""
    block = WEIGHT_TYPES[type_name].block_elements
    return {256: [256, 768], 32: [32, 96, 160, 704], 1: [1, 7, 127, 128, 129, 300]}[block]


SHAPES = [(name, cols) for name in tensors.TYPES for cols in widths(name)]


def _by_scalars(x: Activations, weight: Tensor, m: int, n: int) -> float:
    """One output, step by step."""
    if weight.type in tensors.FLOATS:
        w = dequantize(weight)[n].tolist()
        return scalar.fold(
            [_float_chunk(w[c : c + 128], x.values[m, c : c + 128].tolist()) for c in range(0, len(w), 128)]
        )
    assert x.quantized is not None
    blocks, q = DECODERS[weight.type](weight.data), x.quantized
    codes = q.codes[m].reshape(-1, 32).astype(np.int64)
    chunks = []
    for first in range(0, len(codes), 4):
        a = 0.0
        for b in range(first, min(first + 4, len(codes))):
            a = _block(blocks, n, b, codes[b], float(q.scales[m, b]), float(q.sums[m, b]), a)
        chunks.append(a)
    return scalar.fold(chunks)


def _float_chunk(w: list[float], x: list[float]) -> float:
    a = 0.0
    for wk, xk in zip(w, x, strict=True):
        a = scalar.fma(wk, xk, a)
    return a


def _block(
    w: ScaledBlocks | OffsetBlocks | HalvedBlocks, n: int, b: int, codes: NDArray[Any], d_x: float, s_x: float, a: float
) -> float:
    products = w.codes[n, b].astype(np.int64) * codes
    d = float(w.d[n, b])
    if isinstance(w, HalvedBlocks):
        j = int(w.sc[n, b, 0]) * int(products[:16].sum()) + int(w.sc[n, b, 1]) * int(products[16:].sum())
        return scalar.fma(scalar.mul(d, d_x), float(j), a)
    if isinstance(w, OffsetBlocks):
        a = scalar.fma(scalar.mul(scalar.mul(d, float(w.sc[n, b])), d_x), float(products.sum()), a)
        return scalar.fma(-scalar.mul(float(w.dmin[n, b]), float(w.m[n, b])), s_x, a)
    return scalar.fma(scalar.mul(d, d_x), float(products.sum()), a)


@pytest.mark.parametrize(("type_name", "cols"), SHAPES)
def test_exact_is_numerics_6(type_name: str, cols: int) -> None:
    x = tensors.activations(tensors.random(3, cols, seed=1))
    weight = tensors.raw_tensor(type_name, 5, cols, seed=2) if type_name in tensors.QUANTIZED else None
    weight = weight or tensors.tensor(type_name, tensors.random(5, cols, seed=2))
    expected = [[_by_scalars(x, weight, m, n) for n in range(5)] for m in range(3)]
    assert (bits(matmul.exact(x, weight)) == bits(np.array(expected, np.float32))).all()


@pytest.mark.parametrize("type_name", tensors.QUANTIZED)
def test_exact_with_subnormal_scales(type_name: str) -> None:
    """Products of scales that are subnormal or vanish: each rounds where NUMERICS 6 says."""
    cols = WEIGHT_TYPES[type_name].block_elements * 2
    weight = tensors.raw_tensor(type_name, 4, cols, seed=3, largest=2.0**-12)
    x = tensors.activations(tensors.random(2, cols, seed=4, scale=2.0**-126))
    expected = np.array([[_by_scalars(x, weight, m, n) for n in range(4)] for m in range(2)], np.float32)
    assert (expected != 0).any()
    assert (np.abs(expected) < 2.0**-126).any()
    assert (bits(matmul.exact(x, weight)) == bits(expected)).all()


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_ideal_is_the_product_with_the_dequantized_weight(type_name: str) -> None:
    weight = tensors.tensor(type_name, tensors.random(6, 512, seed=5))
    x = tensors.random(4, 512, seed=6)
    expected = (x.astype(np.float64)[:, None] * dequantize(weight).astype(np.float64)).sum(axis=-1)
    assert np.max(np.abs(matmul.ideal(Activations(values=x), weight) - expected)) <= 1e-12


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_a_unit_row_reads_one_weight(type_name: str) -> None:
    """x with a single 127 has the codes 127, the scale 1: the output is 127 weights to a few roundings."""
    weight = tensors.tensor(type_name, tensors.random(6, 256, seed=7))
    for k in (0, 31, 32, 129, 255):
        x = np.zeros((1, 256), np.float32)
        x[0, k] = 127
        got, expected = matmul.exact(tensors.activations(x), weight)[0], 127 * dequantize(weight)[:, k]
        assert np.max(np.abs(got - expected)) <= 1e-5 * np.max(np.abs(dequantize(weight))) * 127


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_padding_moves_no_bit(type_name: str) -> None:
    """Zero blocks at the end, which complete a short chunk or add whole ones."""
    block = WEIGHT_TYPES[type_name].block_elements
    cols = max(block, 96)
    x = tensors.random(2, cols, seed=8)
    weight = tensors.tensor(type_name, tensors.random(5, cols, seed=9))
    zeros = np.zeros((5, WEIGHT_TYPES[type_name].row_bytes(256)), np.uint8)
    if type_name in ("Q4_0", "Q5_0", "Q6_K"):  # zero bytes are the codes -8, -16, -32 there, under a zero scale
        assert not dequantize(replace(weight, data=zeros)).any()
    padded = replace(weight, shape=(5, cols + 256), data=np.hstack([weight.data, zeros]))
    wide = np.hstack([x, np.zeros((2, 256), np.float32)])
    got = matmul.exact(tensors.activations(wide), padded)
    assert (bits(got) == bits(matmul.exact(tensors.activations(x), weight))).all()


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_zero_is_positive(type_name: str) -> None:
    """Zero activations of either sign against weights of either sign: the fold from +0 leaves +0."""
    weight = tensors.tensor(type_name, tensors.random(5, 256, seed=10))
    for zero in (0.0, -0.0):
        y = matmul.exact(tensors.activations(np.full((2, 256), zero, np.float32)), weight)
        assert (bits(y) == 0).all()


def test_a_chain_that_underflows_leaves_no_minus_zero() -> None:
    x, w = np.full((1, 1), -(2.0**-100), np.float32), np.full((1, 1), 2.0**-100, np.float32)
    y = matmul.exact(tensors.activations(x), tensors.tensor("F32", w))
    assert bits(y)[0, 0] == 0


def test_the_largest_integers_are_exact() -> None:
    """Every code at its extreme: |J| of Q6_K is 32 * 128 * 32 * 127, just below 2^24."""
    weight = tensors.raw_tensor("Q6_K", 1, 256, seed=11)
    blocks = weight.data.copy().view(WEIGHT_TYPES["Q6_K"].dtype)
    blocks["ql"], blocks["qh"], blocks["scales"], blocks["d"] = 0, 0, -128, 1
    x = np.full((1, 256), 127, np.float32)
    y = matmul.exact(tensors.activations(x), replace(weight, data=blocks.view(np.uint8)))
    assert y[0, 0] == 8 * 32 * 128 * 32 * 127


def test_activations_are_quantized_for_those_that_need_it() -> None:
    x = tensors.random(2, 256, seed=12)
    f32, q8 = (tensors.tensor(name, tensors.random(2, 256, seed=13)) for name in ("F32", "Q8_0"))
    assert activations(x, [f32], quantized=lambda: quantize(x)).quantized is None
    mixed = activations(x, [f32, q8], quantized=lambda: quantize(x))
    assert mixed.quantized is not None
    assert (matmul.exact(mixed, f32) == matmul.exact(Activations(values=x), f32)).all()
    with pytest.raises(TypeError, match="quantised activations"):
        matmul.exact(Activations(values=x), q8)
    with pytest.raises(ValueError, match="256 activations, 512 weights"):
        matmul.exact(mixed, tensors.tensor("Q8_0", tensors.random(2, 512)))


def test_a_normed_input_is_quantized_before_its_scale() -> None:
    x, weight = tensors.random(3, 256, seed=14), tensors.random(256, seed=15)
    f32, q8 = (tensors.tensor(name, tensors.random(2, 256, seed=16)) for name in ("F32", "Q8_0"))
    mixed = EXACT.normed(x, weight, f32, q8, eps=1e-6)
    assert (mixed.values == EXACT.rms_norm(x, weight, eps=1e-6)).all()
    assert mixed.quantized is not None
    assert (mixed.quantized.scales == rms_norm_quantize.exact(x, weight, eps=1e-6).scales).all()
    assert (mixed.quantized.scales != quantize(mixed.values).scales).any(), "the two orders round differently"
    assert EXACT.normed(x, weight, f32, eps=1e-6).quantized is None
    assert IDEAL.normed(x, weight, f32, q8, eps=1e-6).quantized is None


def test_a_matmul_refuses_the_weight_of_another() -> None:
    x = tensors.activations(tensors.random(1, 256))
    with pytest.raises(TypeError, match="Q8_0"):
        matmul.EXACT["Q4_0"](x, tensors.tensor("Q8_0", tensors.random(1, 256)))


@pytest.mark.parametrize("type_name", tensors.TYPES)
def test_rows_and_outputs_are_their_own(type_name: str) -> None:
    """A permutation of rows or of outputs, or a part of them, has the same bits, across the tiles of the oracle too."""
    x, weight = tensors.random(70, 256, seed=14), tensors.tensor(type_name, tensors.random(600, 256, seed=15))
    whole = matmul.exact(tensors.activations(x), weight)
    rows, outputs = np.random.default_rng(16).permutation(70)[:9], np.random.default_rng(17).permutation(600)[:11]
    part = replace(weight, shape=(11, 256), data=weight.data[outputs])
    picked: F32 = matmul.exact(tensors.activations(x[rows]), part)
    assert (bits(picked) == bits(whole[np.ix_(rows, outputs)])).all()
