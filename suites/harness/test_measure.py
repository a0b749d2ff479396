"""Counts per token are what the engine counted; times exist only where they mean something."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.measure import VERIFY_PASSES, measure
from harness.rules import quick
from harness.schema import Shape
from suites.harness.fakes import FakeEngine, FakeTimer

SHAPE = Shape(prompt=6, generated=4, context=16, depth=2)
TOKENS = np.arange(8)
RULES = msgspec.structs.replace(quick(3), warm_seconds=(0.0, 0.0))


@pytest.mark.parametrize(("graph", "issued", "kernels"), [("on", 3.0, 8.0), ("off", 10.0, 0.0)])
def test_counts_are_per_token(graph: str, issued: float, kernels: float) -> None:
    engine = FakeEngine({"graph": graph, "prefill": "batched"})
    found = measure(engine, SHAPE, TOKENS, rules=quick(3), timer=None)
    assert found.launches_per_token == issued
    assert found.graph_kernels_per_token == kernels
    assert found.prefill_launches_per_token == issued


def test_an_emulated_speed_is_not_a_speed() -> None:
    found = measure(FakeEngine({"graph": "on"}), SHAPE, TOKENS, rules=quick(3), timer=None)
    assert (found.prefill_tps, found.decode_tps, found.host_us_per_token) == (None, None, None)


def test_a_timed_row_keeps_every_sample() -> None:
    engine = FakeEngine({"graph": "on"})
    timer = FakeTimer(engine, us=[8000.0, 2000.0, 1000.0, 4000.0])  # the first is the warm-up
    found = measure(engine, SHAPE, TOKENS, rules=RULES, timer=timer)
    assert found.decode_tps is not None
    assert found.decode_tps.samples == (2000.0, 4000.0, 1000.0)  # four tokens each
    assert (found.decode_tps.median, found.decode_tps.min, found.decode_tps.max) == (2000.0, 1000.0, 4000.0)
    assert found.host_us_per_token is not None
    assert found.host_us_per_token.median == 250.0
    assert found.prefill_tps is not None
    assert found.prefill_tps.samples == (3000.0, 6000.0, 1500.0)  # six tokens
    assert found.decode is not None
    decode = found.decode.samples(per=found.run)
    assert decode is not None
    assert (decode.unit, decode.median) == ("us", 450.0)


def test_a_sample_of_decode_is_a_short_run_in_the_middle_of_the_answer() -> None:
    engine = FakeEngine({"graph": "on"})
    timer = FakeTimer(engine, us=[1000.0])
    found = measure(engine, SHAPE, TOKENS, rules=msgspec.structs.replace(RULES, run_tokens=2), timer=timer)
    behind = SHAPE.depth + SHAPE.prompt
    assert found.run == 2
    assert set(timer.spans) == {(behind + 1, behind + 3), (SHAPE.depth, behind)}


def test_a_sample_of_decode_can_be_the_whole_answer() -> None:
    engine = FakeEngine({"graph": "on"})
    timer = FakeTimer(engine, us=[1000.0])
    measure(engine, SHAPE, TOKENS, rules=RULES, timer=timer)
    behind = SHAPE.depth + SHAPE.prompt
    assert set(timer.spans) == {(behind, behind + SHAPE.generated), (SHAPE.depth, behind)}


def test_the_answer_stands_behind_depth_and_prompt() -> None:
    engine = FakeEngine({"graph": "on"})
    measure(engine, SHAPE, TOKENS, rules=quick(1), timer=None)
    assert engine.length == SHAPE.depth + SHAPE.prompt + SHAPE.generated


def test_a_token_list_of_another_length_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="7 tokens for depth 2 and prompt 6"):
        measure(FakeEngine({"graph": "on"}), SHAPE, TOKENS[:7], rules=quick(1), timer=None)


def test_rows_at_once_are_timed_in_the_middle_of_the_answer() -> None:
    engine = FakeEngine({"graph": "on"})
    timer = FakeTimer(engine, us=[1600.0])
    shape = msgspec.structs.replace(SHAPE, verify=2)
    found = measure(engine, shape, TOKENS, rules=RULES, timer=timer)
    assert found.verify is not None
    samples = found.verify.samples(per=VERIFY_PASSES)
    assert samples is not None
    assert samples.median == 0.9 * 1600.0 / VERIFY_PASSES
    assert engine.verified == 2
    assert engine.again == VERIFY_PASSES * (1 + len(found.verify.kept))  # one take is the warm-up
    behind = SHAPE.depth + SHAPE.prompt
    assert (behind + 1 + 2, behind + 1 + 2) in timer.spans


def test_a_shape_without_such_rows_has_no_such_time() -> None:
    engine = FakeEngine({"graph": "on"})
    found = measure(engine, SHAPE, TOKENS, rules=RULES, timer=FakeTimer(engine, us=[1000.0]))
    assert (found.verify, engine.verified) == (None, 0)
