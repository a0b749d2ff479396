"""Numbers to stored bytes: ggml's rounding by bits, quality of the searched scales, extremes, faults."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from reference.quant import dequantize_rows, encode_rows
from reference.spec.layout import WEIGHT_TYPES

F32 = NDArray[np.float32]
QUANTIZED = [name for name, kind in WEIGHT_TYPES.items() if kind.quantized]
# Root mean square error on normal values of deviation 1. With even grids between the extremes of each block
# it would be 0.0781 for Q4_K, 0.0381 for Q5_K and 0.0187 for Q6_K; the searched scales must do better.
ERRORS = {"Q8_0": 0.0056, "Q4_0": 0.088, "Q5_0": 0.044, "Q4_K": 0.0735, "Q5_K": 0.0370, "Q6_K": 0.0178}


def normal(rows: int, cols: int, seed: int = 11) -> F32:
    return np.random.default_rng(seed).standard_normal((rows, cols)).astype(np.float32)


def error(type_name: str, values: F32) -> float:
    """Root mean square of what encoding loses."""
    lost = dequantize_rows(type_name, encode_rows(type_name, values)) - values
    return float(np.sqrt(np.mean(lost.astype(np.float64) ** 2)))


VALUES = {
    "normal": normal(64, 512),
    "outliers": normal(64, 512) * np.where(np.arange(512) % 37 == 0, 30, 1).astype(np.float32),
    "one sign": np.abs(normal(64, 512)),
    "ties": np.round(normal(64, 512) * 2) / 2,
    "zeros": np.zeros((2, 512), np.float32),
    "one value": np.full((2, 512), -0.37, np.float32),
    "tiny": normal(8, 512) * np.float32(1e-7),
    "subnormal": normal(8, 512) * np.float32(1e-41),
    "large": normal(8, 512) * np.float32(1e4),
}


@pytest.mark.parametrize("values", [name for name in VALUES if name != "subnormal"])
@pytest.mark.parametrize("type_name", ["F16", "BF16", "Q8_0", "Q4_0", "Q5_0"])
def test_rounds_as_ggml(type_name: str, values: str) -> None:
    """The gguf package's own encoders, by bits; they divide by zero on float32 subnormals, which are tested below."""
    theirs = gguf.quants.quantize(VALUES[values], gguf.GGMLQuantizationType[type_name])
    assert (encode_rows(type_name, VALUES[values]) == theirs.view(np.uint8)).all()


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_loses_little(type_name: str) -> None:
    assert error(type_name, normal(256, 1024)) < ERRORS[type_name]


@pytest.mark.parametrize(("better", "worse"), [("Q4_K", "Q4_0"), ("Q5_K", "Q5_0"), ("Q5_K", "Q4_K"), ("Q6_K", "Q5_K")])
@pytest.mark.parametrize("values", ["normal", "outliers", "one sign"])
def test_more_bits_and_scales_lose_less(better: str, worse: str, values: str) -> None:
    assert error(better, VALUES[values]) < error(worse, VALUES[values])


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize("type_name", QUANTIZED)
def test_stays_near(type_name: str, values: str) -> None:
    """No weight is off by more than a step of its type, in units of the largest magnitude of its super-block.

    The step is at most amax / 7.5 (4 bits); scales below float16's range are lost, which is at most 2^-25 times a code.
    """
    x = VALUES[values]
    got = dequantize_rows(type_name, encode_rows(type_name, x))
    amax = np.abs(x).reshape(len(x), -1, 256).max(axis=-1).repeat(256, axis=-1)
    assert np.isfinite(got).all()
    assert (np.abs(got - x) <= amax / 7 + 128 * 2.0**-25).all()


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_encoding_again_changes_little(type_name: str) -> None:
    """What was encoded once is on a grid that the encoder finds again, nearly."""
    once = dequantize_rows(type_name, encode_rows(type_name, normal(32, 512)))
    assert error(type_name, once) < ERRORS[type_name] / 4


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_a_block_does_not_see_its_neighbours(type_name: str) -> None:
    """A row alone, or the columns of one super-block alone, give the same bytes: no order of sums depends on width."""
    x = normal(40, 1024)
    whole = encode_rows(type_name, x)
    assert (encode_rows(type_name, x[17:18]) == whole[17:18]).all()
    part = WEIGHT_TYPES[type_name].row_bytes(256)
    assert (encode_rows(type_name, x[:, 256:512]) == whole[:, part : 2 * part]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("type_name", QUANTIZED)
def test_what_cannot_be_held_is_refused(type_name: str, bad: float) -> None:
    x = normal(2, 256)
    x[1, 3] = bad
    with pytest.raises(ValueError, match=f"{type_name} holds magnitudes up to"):
        encode_rows(type_name, x)


@pytest.mark.parametrize("type_name", QUANTIZED)
def test_part_of_a_block_is_refused(type_name: str) -> None:
    with pytest.raises(ValueError, match=f"{type_name} encodes rows of a multiple of"):
        encode_rows(type_name, normal(2, 40))


def test_16_bit_floats_round_to_even() -> None:
    values = np.array([[1 + 2**-11, 1 + 3 * 2**-11, 1e6, -1e-9]], np.float32)
    assert dequantize_rows("F16", encode_rows("F16", values)).tolist() == [[1.0, 1 + 2**-9, np.inf, -0.0]]
    values = np.array([[1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, np.nan]], np.float32)
    got = dequantize_rows("BF16", encode_rows("BF16", values))[0]
    assert got[:3].tolist() == [1.0, 1 + 2**-6, np.inf]
    assert np.isnan(got[3])
