"""The engine against the oracle, tap by tap, whole model: the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device
from reference.families import qwen3
from reference.forms import EXACT
from reference.spec.errors import BadInput
from reference.spec.model import Model, open_model
from reference.synth import SynthShape
from suites.models import Models, assert_same_bits, oracle_logits, random_tokens, session

TYPES = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q5_K", "Q6_K", "Q4_K_M", "Q5_K_M")

Taps = dict[tuple[str, int], NDArray[np.float32]]


def _oracle_taps(model: Model, tokens: NDArray[np.int64], kv: str) -> Taps:
    taps: Taps = {}

    def tap(name: str, layer: int, value: NDArray[np.float32]) -> None:
        taps[name, layer] = np.array(value, np.float32).reshape(len(tokens), -1)

    cache = qwen3.new_cache(model, len(tokens), kv=kv, form=EXACT)
    qwen3.forward(model, tokens, cache, form=EXACT, tap=tap)
    return taps


def _engine_taps(device: Device, model: Model, tokens: NDArray[np.int64], kv: str) -> Taps:
    pieces: dict[tuple[str, int], list[NDArray[np.float32]]] = {}

    def tap(name: str, layer: int, value: Buffer) -> None:
        pieces.setdefault((name, layer), []).append(value.read().astype(np.float32).reshape(value.shape[0], -1))

    s = session(device, model, context=len(tokens), chunk=len(tokens), kv=kv)
    s.tap = tap
    s.prefill(tokens, all_logits=True)
    return {key: np.concatenate(parts) for key, parts in pieces.items()}


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("quant", TYPES)
def test_tap_by_tap(device: Device, models: Models, quant: str, kv: str) -> None:
    model = models.tiny(quant)
    tokens = random_tokens(model, 20, seed=30)
    expected, got = _oracle_taps(model, tokens, kv), _engine_taps(device, model, tokens, kv)
    assert list(expected) == list(got), "the two pages name different taps, or in another order"
    for name, layer in expected:
        assert_same_bits(got[name, layer], expected[name, layer], f"{quant} {kv} layer {layer} {name}")


TINY = SynthShape()
VARIANTS = {
    "tied": replace(TINY, tied=True),
    "biases": replace(TINY, biases=True),
    "one kv head": replace(TINY, kv_heads=1),
    "no grouping": replace(TINY, kv_heads=4),
    "head_dim 32": replace(TINY, head_dim=32, heads=8, kv_heads=2),
    "head_dim 128": replace(TINY, head_dim=128, heads=2, kv_heads=2),
    "head_dim 256": replace(TINY, head_dim=256, heads=2, kv_heads=1),
    "head_dim 96": replace(TINY, head_dim=96, heads=2, kv_heads=1),  # its scale is not what float32 alone would give
    "head_dim 80": replace(TINY, head_dim=80, heads=4, kv_heads=2),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes(device: Device, models: Models, name: str) -> None:
    model = models.variant(name.replace(" ", "-"), "Q8_0", VARIANTS[name])
    tokens = random_tokens(model, 13, seed=31)
    s = session(device, model, context=16)
    assert_same_bits(s.prefill(tokens, all_logits=True), oracle_logits(model, tokens), name)


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F32"])
def test_odd_widths(device: Device, models: Models, quant: str) -> None:
    """Widths 96, 704 and 2112: a short last chunk and the fallback types."""
    model = models.odd(quant)
    tokens = random_tokens(model, 11, seed=32)
    s = session(device, model, context=16)
    assert_same_bits(s.prefill(tokens, all_logits=True), oracle_logits(model, tokens), quant)


@pytest.mark.parametrize("kv", ["f32", "f16"])
def test_over_a_split_border(device: Device, models: Models, kv: str) -> None:
    model = models.micro()
    tokens = random_tokens(model, 270, seed=33)
    s = session(device, model, context=300, kv=kv, chunk=64)
    got = [s.prefill(tokens[:250], all_logits=True), *(s.decode(int(token))[None] for token in tokens[250:])]
    assert_same_bits(np.concatenate(got), oracle_logits(model, tokens, kv=kv), kv)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_nan_in_the_weights_reaches_the_logits_alike(
    device: Device, models: Models, bad: float, tmp_path: Path
) -> None:
    """One NaN or infinity in an embedding row: the same logits are NaN on both sides, all others keep their bits."""
    source = models.tiny("F32")
    info = source.file.tensors["token_embd.weight"]
    content = bytearray(source.file.path.read_bytes())
    row_bytes = info.nbytes // info.shape[0]
    at = info.offset + 5 * row_bytes + 17 * 4
    content[at : at + 4] = np.float32(bad).tobytes()
    path = tmp_path / "one-bad-weight.gguf"
    path.write_bytes(content)
    model = open_model(path)
    tokens = np.array([1, 2, 5, 3])
    s = session(device, model, context=8)
    got, expected = s.prefill(tokens, all_logits=True), oracle_logits(model, tokens)
    assert_same_bits(got, expected, f"{bad} in the embedding")
    assert np.isfinite(got[:2]).all()
    assert np.isnan(got[2:]).all()


@pytest.mark.parametrize("context", [0, -1, 8193])
def test_a_context_the_model_does_not_have_is_refused(device: Device, models: Models, context: int) -> None:
    before = device.used_bytes()
    with pytest.raises(BadInput, match=f"context {context}: expected 1 to the model's 8192 positions"):
        session(device, models.micro(), context=context)
    assert device.used_bytes() == before
