"""The sampled comparison: passes what the oracle itself computed, names the op of a value that is off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device
from engine.families import qwen3 as engine_page
from engine.families.qwen3 import no_tap
from engine.session import Session
from engine.toggles import Toggles
from harness.adapters.sampled import OUTPUTS, OpByOp, sampled_outputs, sampled_parity
from harness.compare import joined
from harness.errors import BadCall
from reference.families import qwen3
from reference.forms import EXACT
from reference.spec.model import Model
from suites.models import Models

PROMPT = np.arange(5, 25)
DECODED = (7, 300)


@dataclass(frozen=True)
class Held:
    """As much of a buffer as a tap needs."""

    values: NDArray[np.float32]

    def read(self) -> NDArray[np.float32]:
        return self.values


def taps_of(model: Model, kv: str, spoil: tuple[str, int, int, tuple[int, int]] | None = None) -> OpByOp:
    """Feed the taps of the oracle's own run; `spoil` is a tap, a layer, a step and an element that is off by an ulp."""
    checker = OpByOp(model, context=len(PROMPT) + len(DECODED), kv=kv)
    cache = qwen3.new_cache(model, len(PROMPT) + len(DECODED), kv=kv, form=EXACT)
    step, show = 0, checker.tap

    def tap(name: str, layer: int, value: NDArray[Any]) -> None:
        held = np.array(value, np.float32).reshape(len(value), -1)
        if spoil is not None and (name, layer, step) == spoil[:3]:
            held[spoil[3]] = np.nextafter(held[spoil[3]], np.float32(np.inf))
        show(name, layer, cast(Buffer, Held(held)))

    checker.begin(PROMPT, position=0)
    for tokens in (PROMPT, *(np.array([token]) for token in DECODED)):
        qwen3.forward(model, tokens, cache, form=EXACT, tap=tap, all_logits=False)
        step, show = step + 1, checker.gather
    checker.check_gathered(np.array(DECODED), position=len(PROMPT))
    return checker


@pytest.mark.parametrize("kv", ["f16", "f32"])
@pytest.mark.parametrize("quant", ["Q4_K_M", "F16"])
def test_the_oracle_agrees_with_itself(models: Models, quant: str, kv: str) -> None:
    model = models.tiny(quant)
    checker = taps_of(model, kv)
    result = joined(checker.parts)
    assert result.same, result.first_difference
    assert len(checker.parts) == 2 * (3 + 17 * model.spec.layers)  # one pass, and the decoded steps together
    assert checker.lacking(steps=1 + len(DECODED)) == ""
    assert all(part.values > 0 for _, part in checker.parts)


@pytest.mark.parametrize(
    ("name", "layer", "step", "element"),
    [
        ("embedding", -1, 0, (0, 3)),
        ("q", 1, 0, (15, 0)),
        ("k_norm", 0, 0, (16, 5)),
        ("v", 2, 0, (0, 0)),
        ("attention", 1, 0, (19, 100)),
        ("attn_residual", 0, 0, (15, 8)),
        ("swiglu", 2, 0, (0, 511)),
        ("down", 1, 0, (19, 255)),
        ("logits", -1, 0, (0, 511)),
        ("embedding", -1, 1, (0, 3)),
        ("k_rope", 1, 2, (0, 7)),
        ("v", 0, 1, (0, 64)),  # an output that is sampled
        ("attention", 2, 2, (0, 100)),
        ("output_norm", -1, 1, (0, 1)),
        ("logits", -1, 2, (0, 511)),
    ],
)
def test_a_value_that_is_off_by_an_ulp_is_named_with_its_op(
    models: Models, name: str, layer: int, step: int, element: tuple[int, int]
) -> None:
    result = joined(taps_of(models.tiny("Q8_0"), "f16", (name, layer, step, element)).parts)
    assert not result.same
    place = f"position {len(PROMPT)}: [{step - 1}, " if step else "position 0: ["
    assert result.first_difference.startswith(f"{name}, layer {layer}, {place}")


def test_logits_of_the_row_must_be_those_of_the_checked_ops(device: Device, models: Models) -> None:
    model = models.tiny("Q8_0")
    tokens = np.concatenate([PROMPT, DECODED])
    cache = qwen3.new_cache(model, len(tokens), kv="f16", form=EXACT)
    logits = np.asarray(qwen3.forward(model, tokens, cache, form=EXACT), np.float32)
    toggles = Toggles.from_mapping({"graph": "off", "chunk": len(PROMPT), "kv": "f16"})
    session = Session(device, model, context=len(tokens), toggles=toggles)
    try:
        result, _ = sampled_parity(session, model, PROMPT, list(DECODED), logits)
        assert result.same, result.first_difference
        logits[-1, 5] = np.nextafter(logits[-1, 5], np.float32(np.inf))
        result, _ = sampled_parity(session, model, PROMPT, list(DECODED), logits)
    finally:
        session.close()
    assert (result.differing, result.worst_ulp) == (1, 1)
    assert result.first_difference.startswith("logits of the row against those of the checked ops: [2, 5]: ")


@pytest.mark.parametrize("silent", [("head",), ("prefix", "region", "head")])
def test_ops_that_the_engine_does_not_show_are_not_vouched_for(
    device: Device, models: Models, monkeypatch: pytest.MonkeyPatch, silent: tuple[str, ...]
) -> None:
    """What would be left is the session against itself."""
    model = models.tiny("Q8_0")
    for name in silent:
        whole = getattr(engine_page, name)
        monkeypatch.setattr(
            engine_page, name, lambda *args, whole=whole, **more: whole(*args, **{**more, "tap": no_tap})
        )
    tokens = np.concatenate([PROMPT, DECODED])
    toggles = Toggles.from_mapping({"graph": "off", "chunk": len(PROMPT), "kv": "f16"})
    session = Session(device, model, context=len(tokens), toggles=toggles)
    try:
        logits = np.concatenate([session.prefill(PROMPT, all_logits=True), *(session.decode(t)[None] for t in DECODED)])
        with pytest.raises(BadCall, match="did not show"):
            sampled_parity(session, model, PROMPT, list(DECODED), logits)
    finally:
        session.close()


@pytest.mark.parametrize("outputs", [1, 63, 64, 65, 96, 1024, 151936])
def test_sampled_outputs_hold_the_edges(outputs: int) -> None:
    picked = sampled_outputs(outputs, "blk.0.attn_q.weight")
    assert len(picked) == min(outputs, OUTPUTS)
    assert (np.diff(picked) > 0).all()
    assert picked[0] == 0
    assert picked[-1] == outputs - 1
    if outputs > OUTPUTS:
        assert {31, 32, outputs - 32} <= set(picked.tolist())
