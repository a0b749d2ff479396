"""Positions that were forgotten leave no trace: what follows has the bits of a conversation that never had them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import Device
from suites.models import Models, assert_same_bits, session

TOKENS = np.arange(3, 23)


@pytest.mark.parametrize("graph", ["on", "off"])
def test_what_was_forgotten_leaves_no_trace(device: Device, models: Models, graph: str) -> None:
    model = models.tiny("Q8_0")
    never, forgot = (session(device, model, context=64, graph=graph) for _ in range(2))
    never.prefill(TOKENS[:7])
    forgot.prefill(TOKENS)
    for token in (5, 6):  # a graph is captured at a position that is given up
        forgot.decode(token)
    forgot.truncate(7)
    assert forgot.length == never.length == 7
    for token in (40, 41, 42):
        assert_same_bits(forgot.decode(token), never.decode(token), f"position {never.length - 1}")
    for one in (never, forgot):
        one.truncate(8)
    assert_same_bits(forgot.prefill(TOKENS[9:]), never.prefill(TOKENS[9:]), "prefill behind it")
    assert forgot.generate(TOKENS[:2], 4) == never.generate(TOKENS[:2], 4)


@pytest.mark.parametrize("graph", ["on", "off"])
def test_greedy_steps_go_on_from_there_with_the_token_of_the_last_step(
    device: Device, models: Models, graph: str
) -> None:
    model = models.tiny("Q8_0")
    steps, told = (session(device, model, context=64, graph=graph) for _ in range(2))
    first = steps.generate(TOKENS[:7], 4)[-1]
    for again in range(4):  # more steps in all than the context holds
        steps.truncate(7)
        steps.generate_more(20)
        told.reset()
        told.prefill(TOKENS[:7])
        told.generate([first], 20)
        assert_same_bits(steps.decode(9 + again), told.decode(9 + again), f"round {again}")
        first = 9 + again
