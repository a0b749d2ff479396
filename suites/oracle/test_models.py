"""Whole tiny models: how far exact is from ideal, and that neither chunking nor company moves a bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reference.families import qwen3
from reference.floats import F32, Array, bits
from reference.forms import EXACT, IDEAL, Form
from reference.ops.quantize import Quantized
from reference.spec.errors import BadInput
from reference.spec.model import Model, Tensor, open_model
from reference.synth import synth
from suites.oracle import tensors

Models = Callable[[str], Model]
Tokens = NDArray[np.int64]

QUANTS = (*tensors.TYPES, "Q4_K_M", "Q5_K_M")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Models:
    folder: Path = tmp_path_factory.mktemp("oracle")

    def get(quant: str) -> Model:
        path = folder / f"{quant}.gguf"
        if not path.exists():
            synth("qwen3-tiny", quant=quant, seed=1, path=path)
        return open_model(path)

    return get


def _tokens(model: Model, count: int, seed: int) -> Tokens:
    return np.random.default_rng([seed, count]).integers(0, model.spec.vocab, count)


def _logits(model: Model, tokens: Tokens, form: Form, *, kv: str = "f32", pieces: tuple[int, ...] = ()) -> Array:
    cache = qwen3.new_cache(model, len(tokens), kv=kv, form=form)
    parts = np.split(tokens, np.cumsum(pieces))
    return np.concatenate([qwen3.forward(model, part, cache, form=form) for part in parts if len(part)])


# The bound of exact against ideal, relative to the rms of the logits. Independent errors add as squares.
#
# 8-bit activations: the largest of 32 normal values is 2.07 standard deviations on average, a step is 1/127 of it, and
#   rounding to a step is off by step / sqrt(12): 0.0047 of a standard deviation, which a dot product keeps. A model
#   quantises four times a layer and once before the head, and no branch is louder than the stream it is added to.
# float32 sums: a chain of 128 fmaf and a fold of K / 128 round at most 2^-24 of what they hold, 130 times for K = 256.
#   Seven matmuls a layer and the head.
# float16 KV: off by at most 2^-11 of the value, 2^-11 / sqrt(3) in the mean square; keys and values of every layer.
QUANTIZED = 2.07 / 127 / math.sqrt(12)
FLOAT_SUM = 2.0**-24 * math.sqrt(130)
HALF = 2.0**-11 / math.sqrt(3)
WORST = 6.0  # the largest of 10^5 normal values lies within six standard deviations
LEAST = 1 / 20  # of the bound: less would mean that the rounding did not happen


def _bound(quant: str, kv: str, layers: int) -> float:
    squares = FLOAT_SUM**2 * (7 * layers + 1)
    if quant not in tensors.FLOATS:
        squares += QUANTIZED**2 * (4 * layers + 1)
    if kv == "f16":
        squares += HALF**2 * 2 * layers
    return math.sqrt(squares)


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("quant", QUANTS)
def test_exact_is_within_its_bound_of_ideal(tiny: Models, quant: str, kv: str) -> None:
    model = tiny(quant)
    tokens = _tokens(model, 48, seed=50)
    ideal = _logits(model, tokens, IDEAL)
    error = _logits(model, tokens, EXACT, kv=kv) - ideal
    rms, bound = np.sqrt(np.mean(ideal**2)), _bound(quant, kv, model.spec.layers)
    found, worst = np.sqrt(np.mean(error**2)) / rms, np.max(np.abs(error)) / rms
    assert found <= bound, f"rms error {found:.2e}, bound {bound:.2e}"
    assert worst <= WORST * bound, f"largest error {worst:.2e}, bound {WORST * bound:.2e}"
    assert found >= LEAST * bound, f"rms error {found:.2e} is too small to be true"


def _biased(x: Array, weight: Array, *, eps: float) -> Array:
    return EXACT.rms_norm(x, weight * np.float32(1.02), eps=eps)


def _biased_codes(x: Array, weight: Array, *, eps: float) -> Quantized | None:
    return EXACT.rms_norm_quantize(x, weight * np.float32(1.02), eps=eps)


def test_the_bound_sees_a_wrong_operation(tiny: Models) -> None:
    """A norm 2 % too large, which the head would show at once, is past the bound of every type."""
    wrong = replace(EXACT, rms_norm=_biased, rms_norm_quantize=_biased_codes)
    for quant in ("F32", "Q4_K"):
        model = tiny(quant)
        tokens = _tokens(model, 48, seed=50)
        ideal = _logits(model, tokens, IDEAL)
        error = _logits(model, tokens, wrong) - ideal
        assert not np.sqrt(np.mean(error**2) / np.mean(ideal**2)) <= _bound(quant, "f32", model.spec.layers)


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("quant", ["F16", "Q4_K_M"])
def test_chunking_moves_no_bit(tiny: Models, quant: str, kv: str) -> None:
    model = tiny(quant)
    tokens = _tokens(model, 12, seed=51)
    whole = bits(_logits(model, tokens, EXACT, kv=kv))
    for pieces in ((1,) * 11, (7, 3), (11,), (1, 1, 8)):
        assert (bits(_logits(model, tokens, EXACT, kv=kv, pieces=pieces)) == whole).all(), pieces


def test_chunking_over_a_split_border_moves_no_bit(tiny: Models) -> None:
    model = tiny("Q8_0")
    tokens = _tokens(model, 262, seed=52)
    whole = bits(_logits(model, tokens, EXACT, kv="f16"))
    for pieces in ((255, 1, 1, 1), (3, 256)):
        assert (bits(_logits(model, tokens, EXACT, kv="f16", pieces=pieces)) == whole).all(), pieces


@pytest.mark.parametrize("quant", ["F32", "Q8_0", "Q4_K", "Q6_K"])
def test_company_moves_no_bit(tiny: Models, quant: str) -> None:
    """Each row-wise step of a layer, alone, in a batch and in a permuted batch."""
    model = tiny(quant)
    x = tensors.random(23, model.spec.dim, seed=53)
    order = np.random.default_rng(54).permutation(23)

    def rows(x: F32) -> Array:
        return qwen3.head(
            model, qwen3.ffn_block(model, 0, x, form=EXACT, tap=qwen3.no_tap), form=EXACT, tap=qwen3.no_tap
        )

    whole = bits(np.asarray(rows(x), np.float32))
    assert (bits(np.asarray(rows(x[order]), np.float32)) == whole[order]).all()
    assert (bits(np.asarray(rows(x[7:8]), np.float32)) == whole[7:8]).all()


def test_only_the_last_logits(tiny: Models) -> None:
    model = tiny("Q8_0")
    tokens = _tokens(model, 9, seed=55)
    for form in (EXACT, IDEAL):
        cache = qwen3.new_cache(model, 9, form=form)
        last = qwen3.forward(model, tokens, cache, form=form, all_logits=False)
        assert last.shape == (1, model.spec.vocab)
        assert np.max(np.abs(last - _logits(model, tokens, form)[-1:])) <= (0 if form is EXACT else 1e-12)


def test_taps_are_named_once_in_order(tiny: Models) -> None:
    model = tiny("Q8_0")
    seen: list[tuple[str, int, tuple[int, ...]]] = []
    cache = qwen3.new_cache(model, 5, form=EXACT)
    tokens = _tokens(model, 5, seed=56)
    logits = qwen3.forward(
        model, tokens, cache, form=EXACT, tap=lambda name, layer, x: seen.append((name, layer, x.shape))
    )
    layer = (
        *("attn_norm", "q", "k", "v", "q_norm", "k_norm", "q_rope", "k_rope", "attention", "attn_output"),
        *("attn_residual", "ffn_norm", "gate", "up", "swiglu", "down", "ffn_residual"),
    )
    expected = [
        ("embedding", -1),
        *((n, i) for i in range(model.spec.layers) for n in layer),
        ("output_norm", -1),
        ("logits", -1),
    ]
    assert [(name, i) for name, i, _ in seen] == expected
    assert all(len(shape) == 2 and shape[0] == 5 for _, _, shape in seen)
    assert seen[-1][2] == logits.shape


def _with_embedding(model: Model, token: int, value: float) -> Model:
    """The model with one value of one row of its F32 embedding table changed."""
    table = model.tensor("token_embd.weight")
    data = table.data.copy()
    data.view(np.float32)[token, 3] = value

    class Changed(Model):
        def tensor(self, name: str) -> Tensor:
            return replace(table, data=data) if name == table.name else model.tensor(name)

    return Changed(file=model.file, spec=model.spec)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", [EXACT, IDEAL], ids=lambda form: form.name)
def test_what_is_not_finite_reaches_every_later_logit_and_no_earlier_one(
    tiny: Models, form: Form, value: float
) -> None:
    model = tiny("F32")
    tokens = np.array([1, 2, 3, 4, 2, 1])
    clean = _logits(model, tokens, form)
    logits = _logits(_with_embedding(model, 3, value), tokens, form)
    assert np.array_equal(logits[:2], clean[:2])
    assert np.isnan(logits[2:]).all()


def test_bad_calls_are_named(tiny: Models) -> None:
    model = tiny("Q8_0")
    cache = qwen3.new_cache(model, 4, form=EXACT)
    with pytest.raises(BadInput, match="no tokens"):
        qwen3.forward(model, [], cache, form=EXACT)
    with pytest.raises(BadInput, match=r"token 512 at index 1 is outside the vocabulary, expected 0 \.\. 511"):
        qwen3.forward(model, [1, 512], cache, form=EXACT)
    with pytest.raises(BadInput, match="token -1"):
        qwen3.forward(model, [-1], cache, form=EXACT)
    qwen3.forward(model, [1, 2, 3], cache, form=EXACT)
    with pytest.raises(BadInput, match="exceed the context, expected at most 4"):
        qwen3.forward(model, [1, 2], cache, form=EXACT)
    assert cache.length == 3
    with pytest.raises(BadInput, match="q8"):
        qwen3.new_cache(model, 4, kv="q8", form=EXACT)
