"""Counts per token are what the engine counted; times exist only where they mean something."""

from __future__ import annotations

import numpy as np
import pytest

from harness.measure import measure
from harness.schema import Shape
from suites.harness.fakes import FakeEngine

SHAPE = Shape(prompt=6, generated=4, context=16, depth=2)
TOKENS = np.arange(8)


@pytest.mark.parametrize(("graph", "issued", "kernels"), [("on", 3.0, 8.0), ("off", 10.0, 0.0)])
def test_counts_are_per_token(graph: str, issued: float, kernels: float) -> None:
    engine = FakeEngine({"graph": graph, "prefill": "batched"})
    found = measure(engine, SHAPE, TOKENS, repeats=3, timed=False)
    assert found.launches_per_token == issued
    assert found.graph_kernels_per_token == kernels
    assert found.prefill_launches_per_token == issued


def test_an_emulated_speed_is_not_a_speed() -> None:
    found = measure(FakeEngine({"graph": "on"}), SHAPE, TOKENS, repeats=3, timed=False)
    assert (found.prefill_tps, found.decode_tps, found.host_us_per_token) == (None, None, None)


def test_a_timed_row_keeps_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.measure.WARM_SECONDS", 0.0)
    found = measure(FakeEngine({"graph": "on"}), SHAPE, TOKENS, repeats=3, timed=True)
    for spread in (found.prefill_tps, found.decode_tps, found.host_us_per_token):
        assert spread is not None
        assert len(spread.samples) == 3
        assert 0 < spread.min <= spread.median <= spread.max
        assert spread.min == min(spread.samples)


def test_the_answer_stands_behind_depth_and_prompt() -> None:
    engine = FakeEngine({"graph": "on"})
    measure(engine, SHAPE, TOKENS, repeats=1, timed=False)
    assert engine.length == SHAPE.depth + SHAPE.prompt + SHAPE.generated


def test_a_token_list_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="7 tokens for depth 2 and prompt 6"):
        measure(FakeEngine({"graph": "on"}), SHAPE, TOKENS[:7], repeats=1, timed=False)
