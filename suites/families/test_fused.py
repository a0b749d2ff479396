"""A step with kernels that do several operations in one has the bits of the single operations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.device import Device
from reference.spec.model import Model
from reference.synth import SynthShape
from suites.families.test_engine_oracle import TYPES, VARIANTS
from suites.models import MICRO, Models, assert_same_bits, oracle_logits, random_tokens, session


def _check(device: Device, model: Model, *, kv: str = "f16", steps: int = 6, prompt: int = 5) -> None:
    fused = session(device, model, context=prompt + steps, kv=kv, fused="on")
    plain = session(device, model, context=prompt + steps, kv=kv, fused="off")
    tokens = random_tokens(model, prompt + steps, seed=50)
    for s in (fused, plain):
        s.prefill(tokens[:prompt])
    for token in tokens[prompt:]:
        expected = plain.decode(int(token))
        assert_same_bits(fused.decode(int(token)), expected, f"position {plain.length - 1}")
    assert_same_bits(expected[None], oracle_logits(model, tokens, kv=kv)[-1:], "the oracle")
    assert fused.engaged()["fused"].engaged is True, fused.engaged()["fused"]
    assert plain.engaged()["fused"].engaged is True, plain.engaged()["fused"]
    assert fused.launches.executed().total() < plain.launches.executed().total()
    fused.close()
    plain.close()


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("quant", TYPES)
def test_types(device: Device, models: Models, quant: str, kv: str) -> None:
    _check(device, models.tiny(quant), kv=kv)


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes(device: Device, models: Models, name: str) -> None:
    _check(device, models.variant(name.replace(" ", "-"), "Q8_0", VARIANTS[name]))


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F32"])
def test_odd_widths(device: Device, models: Models, quant: str) -> None:
    _check(device, models.odd(quant))


WIDE = replace(SynthShape(), layers=1, dim=4352, ff=256, vocab=96, heads=2, kv_heads=1, head_dim=32, biases=True)


@pytest.mark.parametrize("quant", ["Q4_K", "Q8_0", "Q4_0"])
def test_past_what_registers_and_shared_memory_hold(device: Device, models: Models, quant: str) -> None:
    """Rows wider than a norm keeps in registers, and biases."""
    _check(device, models.variant("wide", quant, WIDE), steps=2, prompt=1)


@pytest.mark.parametrize("kv", ["f32", "f16"])
def test_over_a_split_border(device: Device, models: Models, kv: str) -> None:
    _check(device, models.variant("micro-biases", "Q8_0", replace(MICRO, biases=True)), kv=kv, prompt=250, steps=12)


def test_gemm_for_one_row_is_not_fused(device: Device, models: Models) -> None:
    s = session(device, models.tiny("Q8_0"), context=8, matmul="gemm")
    s.decode(1)
    assert s.engaged()["fused"].engaged is None
    assert not any(name.startswith("matmul_group") for name in s.launches.executed())
