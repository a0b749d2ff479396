"""A step with kernels that do several operations in one has the bits of the single operations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.device import Device
from engine.devices.host import HostDevice
from engine.ops.attention import quantizes
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


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F16"])
def test_a_row_of_more_blocks_than_multiprocessors(models: Models, quant: str) -> None:
    """No product leaves it for the norm behind it, which is then a launch of its own."""
    model = models.tiny(quant)
    small = HostDevice(multiprocessors=model.spec.dim // 32 - 1)
    try:
        _check(small, model)
        s = session(small, model, context=2)
        s.decode(3)
        assert "matmul_residual" not in " ".join(s.launches.executed())
        s.close()
    finally:
        small.close()


def _check_few(device: Device, model: Model, *, rows: int, kv: str = "f16") -> None:
    """A pass of a few rows, alone, after others and as a short prefill: the bits of single operations and of decode."""
    tokens = random_tokens(model, 2 * rows + 3, seed=51)
    kinds = {"fused": ("on", "batched"), "plain": ("off", "batched"), "decoded": ("on", "sequential")}
    logits, kernels = {}, {}
    for kind, (fused, prefill) in kinds.items():
        s = session(device, model, context=len(tokens), kv=kv, fused=fused, prefill=prefill)
        prompt, once, again = tokens[:3], tokens[3 : rows + 3], tokens[rows + 3 :]
        parts = [s.prefill(prompt, all_logits=True)]
        if kind == "decoded":
            parts += [s.decode(int(token))[None] for token in tokens[3:]]
        else:
            parts.append(s.verify(once))
            before = s.launches.executed().total()
            parts.append(s.verify(again))
            kernels[kind] = s.launches.executed().total() - before
            assert s.engaged()["fused"].engaged is not False, s.engaged()["fused"]
        logits[kind] = np.concatenate(parts)
        s.close()
    for kind in ("plain", "decoded"):
        assert_same_bits(logits["fused"], logits[kind], f"{rows} rows, {kind}")
    assert kernels["fused"] < kernels["plain"]
    if {info.type for info in model.file.tensors.values() if len(info.shape) == 2} == {"Q8_0"}:
        of_layer = 9 if quantizes(rows, model.spec.head_dim) else 10  # where attention leaves its 8-bit form
        assert kernels["fused"] == of_layer * model.spec.layers + 3


@pytest.mark.parametrize("rows", [2, 5, 8])
@pytest.mark.parametrize("quant", TYPES)
def test_a_few_rows(device: Device, models: Models, quant: str, rows: int) -> None:
    _check_few(device, models.tiny(quant), rows=rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_of_a_few_rows(device: Device, models: Models, name: str) -> None:
    _check_few(device, models.variant(name.replace(" ", "-"), "Q8_0", VARIANTS[name]), rows=3)


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F32"])
def test_odd_widths_of_a_few_rows(device: Device, models: Models, quant: str) -> None:
    _check_few(device, models.odd(quant), rows=4, kv="f32")


def _check_many(device: Device, model: Model, *, rows: int, kv: str = "f16") -> None:
    """A pass of more rows than a band, behind others: the bits of single operations and of decode."""
    tokens = random_tokens(model, rows + 3, seed=52)
    kinds = {"fused": ("on", "batched"), "plain": ("off", "batched"), "decoded": ("on", "sequential")}
    logits, kernels = {}, {}
    for kind, (fused, prefill) in kinds.items():
        s = session(device, model, context=len(tokens), kv=kv, fused=fused, prefill=prefill)
        s.prefill(tokens[:3])
        before = s.launches.executed()
        logits[kind] = s.prefill(tokens[3:])
        kernels[kind] = s.launches.executed() - before
        s.close()
    for kind in ("plain", "decoded"):
        assert_same_bits(logits["fused"], logits[kind], f"{rows} rows, {kind}")
    assert kernels["fused"].total() < kernels["plain"].total()
    if {info.type for info in model.file.tensors.values() if len(info.shape) == 2} == {"Q8_0"}:
        others = sum(count for name, count in kernels["fused"].items() if not name.startswith("attention"))
        of_layer = 8 if quantizes(rows, model.spec.head_dim) else 9  # where attention leaves its 8-bit form
        assert others == of_layer * model.spec.layers + 3, kernels["fused"]
        assert kernels["fused"]["swiglu_quantize"] == model.spec.layers


@pytest.mark.parametrize("rows", [9, 70])
@pytest.mark.parametrize("quant", TYPES)
def test_many_rows(device: Device, models: Models, quant: str, rows: int) -> None:
    _check_many(device, models.tiny(quant), rows=rows)


@pytest.mark.parametrize("name", VARIANTS)
def test_shapes_of_many_rows(device: Device, models: Models, name: str) -> None:
    _check_many(device, models.variant(name.replace(" ", "-"), "Q8_0", VARIANTS[name]), rows=19)


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F32"])
def test_odd_widths_of_many_rows(device: Device, models: Models, quant: str) -> None:
    _check_many(device, models.odd(quant), rows=11, kv="f32")


def test_rows_enough_for_small_blocks(device: Device, models: Models) -> None:
    _check_many(device, models.micro(), rows=150)


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
