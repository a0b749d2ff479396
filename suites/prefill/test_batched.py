"""Batched prefill gives the bits of one token after the other, for any length, chunk and border."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Device
from suites.conftest import not_applicable
from suites.models import Models, assert_same_bits, random_tokens, session

LENGTHS = (1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000)
LONG = (4095, 4096, 4097, 8192)


Rows = tuple[NDArray[np.int64], NDArray[np.float32]]


@pytest.fixture(scope="module")
def sequential_rows(device: Device, models: Models) -> Rows:
    """Logits of every position of 1000 tokens, one token after the other, and the tokens."""
    model = models.micro()
    tokens = random_tokens(model, 1000, seed=20)
    s = session(device, model, context=1000, prefill="sequential")
    rows = s.prefill(tokens, all_logits=True)
    assert s.engaged()["prefill"].engaged is True
    assert s.counters.graph_launches == 1000
    return tokens, rows


@pytest.mark.parametrize("length", LENGTHS)
def test_batched_equals_sequential(device: Device, models: Models, sequential_rows: Rows, length: int) -> None:
    tokens, rows = sequential_rows
    s = session(device, models.micro(), context=1000, chunk=1000)
    assert_same_bits(s.prefill(tokens[:length], all_logits=True), rows[:length], f"{length} tokens at once")
    assert s.engaged()["prefill"].engaged is (True if length > 1 else None), s.engaged()["prefill"]


@pytest.mark.parametrize("seed", range(4))
def test_any_chunking(device: Device, models: Models, sequential_rows: Rows, seed: int) -> None:
    """Random cuts, some by the chunk toggle and some by separate calls that start above position 0."""
    tokens, rows = sequential_rows
    rng = np.random.default_rng(seed)
    length = int(rng.integers(300, 420))
    cuts = sorted({0, length, *(int(c) for c in rng.integers(1, length, 3))})
    s = session(device, models.micro(), context=1000, chunk=int(rng.integers(2, 90)))
    for first, stop in pairwise(cuts):
        got = s.prefill(tokens[first:stop], all_logits=True)
        assert_same_bits(got, rows[first:stop], f"cuts {cuts}, chunk {s.toggles.chunk}, rows {first}..{stop}")


@pytest.mark.parametrize("chunk", [1, 7, 16, 33, 256])
def test_only_the_last_row_is_asked_for(device: Device, models: Models, sequential_rows: Rows, chunk: int) -> None:
    tokens, rows = sequential_rows
    s = session(device, models.micro(), context=1000, chunk=chunk)
    before = s.launches.executed()
    assert_same_bits(s.prefill(tokens[:258]), rows[257:258], f"chunk {chunk}")
    ran = s.launches.executed() - before
    if chunk == 1:  # passes of one row leave the norm of the head with the last layer
        heads = sum(count for name, count in ran.items() if name.startswith("matmul_group")) - 258 * s.spec.layers
    else:
        norms = sum(count for name, count in ran.items() if name.startswith("rms_norm"))
        heads = norms - 2 * s.spec.layers * -(-258 // chunk)
    assert heads == 1, "the head ran for rows that nobody asked for"


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q6_K", "Q8_0", "Q4_0", "Q5_0", "F16", "BF16", "F32"])
def test_every_type(device: Device, models: Models, quant: str) -> None:
    model = models.tiny(quant)
    tokens = random_tokens(model, 19, seed=21)
    one_by_one = session(device, model, context=19, prefill="sequential", matmul="matvec")
    at_once = session(device, model, context=19, chunk=19, matmul="gemm")
    assert_same_bits(at_once.prefill(tokens, all_logits=True), one_by_one.prefill(tokens, all_logits=True), quant)
    assert at_once.engaged()["matmul"].engaged is True
    assert one_by_one.engaged()["matmul"].engaged is True


def test_decode_goes_on_from_either(device: Device, models: Models) -> None:
    model = models.tiny("Q4_K_M")
    tokens = random_tokens(model, 44, seed=22)
    batched, sequential = session(device, model, context=64), session(device, model, context=64, prefill="sequential")
    assert_same_bits(batched.prefill(tokens[:40]), sequential.prefill(tokens[:40]), "prefill")
    for token in tokens[40:]:
        assert_same_bits(batched.decode(int(token)), sequential.decode(int(token)), "decode")


@pytest.mark.parametrize("length", LONG)
def test_long_prompts(device: Device, models: Models, length: int) -> None:
    """Past 4096 positions: batched in chunks of 512 against batched in one odd chunk and decode steps at the end."""
    if device.name == "host":
        not_applicable("thousands of sequential steps of the tiny model are for a GPU")
    model = models.tiny("Q4_K_M")
    tokens = random_tokens(model, length, seed=23)
    chunks, odd = session(device, model, context=length), session(device, model, context=length, chunk=1021)
    sequential = session(device, model, context=length, prefill="sequential")
    expected = sequential.prefill(tokens)
    assert_same_bits(chunks.prefill(tokens), expected, f"{length} tokens in chunks of 512")
    odd.prefill(tokens[: length - 3])
    for token in tokens[length - 3 : -1]:
        odd.decode(int(token))
    assert_same_bits(odd.decode(int(tokens[-1]))[None], expected, f"{length} tokens in chunks of 1021, then decode")


def test_past_4096_on_any_device(device: Device, models: Models) -> None:
    model = models.micro()
    tokens = random_tokens(model, 4100, seed=24)
    large, small = session(device, model, context=4100, chunk=1024), session(device, model, context=4100, chunk=1000)
    large.prefill(tokens[:4096])
    small.prefill(tokens[:4094])
    small.decode(int(tokens[4094]))
    small.decode(int(tokens[4095]))
    for token in tokens[4096:]:
        assert_same_bits(large.decode(int(token)), small.decode(int(token)), f"position {small.length - 1}")
