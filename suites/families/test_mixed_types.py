"""Float and quantised weights behind one norm: each takes its own form of the row, fused or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.device import Device
from reference.spec.model import open_model
from reference.spec.qwen3 import Qwen3
from reference.synth import SynthShape, plan, synth_shape
from suites.models import assert_same_bits, oracle_logits, random_tokens, session

FLOATS = ("attn_k.weight", "ffn_up.weight")


def _mixed(quant: str, name: str, shape: tuple[int, ...], spec: Qwen3) -> str:
    if len(shape) < 2:
        return "F32"
    return "F16" if name.endswith(FLOATS) else quant


@pytest.mark.parametrize("rows", [1, 5, 12])
@pytest.mark.parametrize("fused", ["on", "off"])
def test_floats_beside_8_bits(
    device: Device, fused: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "tensor_type", _mixed)
    synth_shape(SynthShape(), name="mixed", quant="Q8_0", seed=1, path=tmp_path / "mixed.gguf")
    model = open_model(tmp_path / "mixed.gguf")
    assert {info.type for info in model.file.tensors.values()} == {"F32", "F16", "Q8_0"}
    tokens = random_tokens(model, rows + 2, seed=60)
    s = session(device, model, context=16, fused=fused)
    s.prefill(tokens[:2])
    assert_same_bits(s.prefill(tokens[2:]), oracle_logits(model, tokens)[-1:], f"{rows} rows, fused {fused}")
