"""A row's result does not depend on the rows beside it, on how many there are, or on which of them it is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device
from engine.ops.matmul import MatmulPath
from engine.ops.qk_norm import qk_norm
from engine.ops.quantize import Quantized, padded, quantize
from engine.ops.rms_norm import rms_norm
from engine.ops.swiglu import swiglu
from suites.kernels import matmuls
from suites.models import Models, assert_same_bits, random_tokens, session

F32 = NDArray[np.float32]
TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K")
COLS = 512


def _batch(needle: F32, rows: int, at: int, seed: int) -> F32:
    """Random neighbours, one of them NaN and one far larger than the needle; the needle in row `at`."""
    rng = np.random.default_rng([seed, rows, at])
    x = rng.standard_normal((rows, needle.size)).astype(np.float32)
    x[(at + 1) % rows] = np.nan
    x[(at + rows // 2) % rows] *= np.float32(1e6)
    x[at] = needle
    return x


def _needle() -> F32:
    return np.random.default_rng(99).standard_normal(COLS).astype(np.float32)


@pytest.mark.parametrize("path", ["matvec", "gemm"])
@pytest.mark.parametrize("type_name", TYPES)
def test_matmul(device: Device, type_name: str, path: MatmulPath) -> None:
    tensor = matmuls.weight(type_name, 70, COLS, seed=5)
    needle = _needle()
    alone = matmuls.case(device, tensor, needle[None])
    expected = alone.run("matvec")
    alone.close()
    for rows, at in ((2, 0), (9, 8), (33, 17), (64, 63), (70, 40)):
        batch = matmuls.case(device, tensor, _batch(needle, rows, at, seed=6))
        assert_same_bits(batch.run(path)[at : at + 1], expected, f"{type_name} {path}: row {at} of {rows}")
        batch.close()


@pytest.mark.parametrize("rows", [2, 7, 33])
def test_rows_of_the_other_ops(device: Device, rows: int) -> None:
    needle, at = _needle(), rows - 1
    weight = device.upload(np.linspace(0.5, 1.5, COLS, dtype=np.float32), "weight")
    head_weight = device.upload(np.linspace(0.5, 1.5, 64, dtype=np.float32), "head weight")

    def run(x: F32) -> list[F32]:
        """Every op on x, its last row."""
        stream = device.stream()
        given = device.upload(x, "x")
        normed, mixed, headed = (device.alloc(x.shape, np.float32, name) for name in ("normed", "mixed", "headed"))
        rms_norm(stream, given, weight, eps=1e-6, out=normed)
        swiglu(stream, given, normed, out=mixed)
        heads = (len(x), COLS // 64, 64)
        qk_norm(stream, given.reshape(*heads), head_weight, eps=1e-6, out=headed.reshape(*heads))
        codes = _quantized(device, *x.shape)
        quantize(stream, given, out=codes)
        outputs: list[Buffer] = [normed, mixed, headed, codes.scales, codes.sums]
        last = [buffer.read()[-1:].astype(np.float32) for buffer in (*outputs, codes.codes)]
        for buffer in (given, *outputs, codes.codes):
            device.free(buffer)
        return last

    alone, together = run(needle[None]), run(_batch(needle, rows, at, seed=7))
    for name, one, many in zip(
        ("rms_norm", "swiglu", "qk_norm", "scales", "sums", "codes"), alone, together, strict=True
    ):
        assert_same_bits(many, one, f"{name}: row {at} of {rows}")
    device.free(weight)
    device.free(head_weight)


def _quantized(device: Device, rows: int, cols: int) -> Quantized:
    return Quantized(
        codes=device.alloc((rows, padded(cols)), np.int8, "codes"),
        scales=device.alloc((rows, padded(cols) // 32), np.float32, "scales"),
        sums=device.alloc((rows, padded(cols) // 32), np.float32, "sums"),
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_token_in_random_batches(device: Device, models: Models, seed: int) -> None:
    """The logits of one token after the same history, whatever the passes were that computed them."""
    model = models.tiny("Q4_K_M")
    tokens = random_tokens(model, 60, seed=40 + seed)
    needle = 30 + seed
    rng = np.random.default_rng(seed)
    alone = session(device, model, context=60, prefill="sequential")
    expected = alone.prefill(tokens[: needle + 1])
    for _ in range(3):
        first = int(rng.integers(0, needle + 1))
        stop = int(rng.integers(needle + 1, 61))
        s = session(device, model, context=60, chunk=60)
        if first:
            s.prefill(tokens[:first])
        rows = s.prefill(tokens[first:stop], all_logits=True)
        assert_same_bits(
            rows[needle - first : needle - first + 1], expected, f"token {needle} in a pass {first}..{stop}"
        )


def test_twice_is_the_same(device: Device, models: Models) -> None:
    model = models.tiny("Q6_K")
    tokens = random_tokens(model, 40, seed=44)
    s = session(device, model, context=40)
    first = s.prefill(tokens, all_logits=True)
    s.reset()
    assert_same_bits(s.prefill(tokens, all_logits=True), first, "the same prefill again")
