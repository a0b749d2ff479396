"""The whole engine under every schedule and mode of the host device, and its captured region under the lint."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.devices import AccessFault
from engine.devices.host import HostDevice, frozen_values
from engine.session import Session
from suites.models import Models, assert_same_bits, oracle_logits, random_tokens, session


@pytest.mark.parametrize("quant", ["Q4_K_M", "F16"])
def test_bits_under_every_schedule(host_variant: HostDevice, models: Models, quant: str) -> None:
    """No race, no stray access, no unwritten value (check mode raises on each), and the oracle's bits in any order."""
    model = models.micro(quant) if quant == "F16" else models.tiny(quant)
    tokens = random_tokens(model, 9, seed=50)
    s = session(host_variant, model, context=16, chunk=4)
    rows = [s.prefill(tokens[:6], all_logits=True), *(s.decode(int(token))[None] for token in tokens[6:])]
    assert_same_bits(np.concatenate(rows), oracle_logits(model, tokens), "logits")
    assert s.counters.graph_launches == 3
    s.close()


def test_what_a_token_reads_ahead_was_written_passes_ago(models: Models) -> None:
    """Position and cache move on the device; launches of products of floats all let the next one start early."""
    device, model = HostDevice(mode="check"), models.micro("F16")
    s = session(device, model, context=16, graph="off")
    try:
        s.generate(random_tokens(model, 3, seed=52), 4)
        found = ""
    except AccessFault as fault:
        found = str(fault)
    assert found == ""
    device.close()


def _at(s: Session, tokens: NDArray[np.int64]) -> Callable[[], None]:
    def state() -> None:
        s.reset()
        s.prefill(tokens)

    return state


@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0"])
def test_captured_region_freezes_nothing(models: Models, quant: str) -> None:
    """The launches that a graph holds are the same at every position, to the last argument, grid and byte of memory."""
    device, model = HostDevice(), models.tiny(quant)
    s = session(device, model, context=300, graph="off")
    states = [_at(s, random_tokens(model, n, seed=51)) for n in (1, 2, 31, 255, 256, 299)]
    assert frozen_values(device, lambda: s._region(1), states) == []
    with device.trace() as launches:
        s._region(1)
    assert len(launches) > 10
    device.close()
