"""A replayed graph gives the bits of direct launches: every logit, every step, at every position."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from engine.device import Device
from engine.session import Session
from reference.spec.errors import BadInput
from reference.spec.model import Model
from suites.conftest import not_applicable
from suites.models import Models, assert_same_bits, random_tokens, session


def _both(device: Device, model: Model, *, context: int, kv: str = "f16", fused: str = "on") -> tuple[Session, Session]:
    """The same session with and without the graph."""
    replayed = session(device, model, context=context, graph="on", kv=kv, fused=fused)
    return replayed, session(device, model, context=context, graph="off", kv=kv, fused=fused)


def _assert_engaged(replayed: Session, direct: Session) -> None:
    """What each side really did, from counts."""
    assert replayed.engaged()["graph"].engaged is True, replayed.engaged()["graph"]
    assert direct.engaged()["graph"].engaged is False, direct.engaged()["graph"]
    assert direct.counters.graph_launches == 0
    assert replayed.counters.graph_launches > 0


@pytest.mark.parametrize("kv", ["f32", "f16"])
@pytest.mark.parametrize("quant", ["Q4_K_M", "Q8_0", "F16"])
def test_replay_equals_direct(device: Device, models: Models, quant: str, kv: str) -> None:
    model = models.tiny(quant)
    replayed, direct = _both(device, model, context=32, kv=kv)
    for token in random_tokens(model, 24, seed=3):
        assert_same_bits(replayed.decode(int(token)), direct.decode(int(token)), f"position {direct.length - 1}")
    _assert_engaged(replayed, direct)


@pytest.mark.parametrize("quant", ["Q4_K_M", "F16"])
def test_plain_kernels_replay_too(device: Device, models: Models, quant: str) -> None:
    model = models.tiny(quant)
    replayed, direct = _both(device, model, context=16, fused="off")
    for token in random_tokens(model, 10, seed=17):
        assert_same_bits(replayed.decode(int(token)), direct.decode(int(token)), f"position {direct.length - 1}")
    _assert_engaged(replayed, direct)


@pytest.mark.parametrize("graph", ["on", "off"])
def test_programmatic_launch_changes_no_bit(device: Device, models: Models, graph: str) -> None:
    if not device.has_pdl:
        not_applicable("programmatic dependent launch does not exist on this device")
    model = models.tiny("Q4_K_M")
    with_pdl = session(device, model, context=64, graph=graph, pdl="on")
    without = session(device, model, context=64, graph=graph, pdl="off")
    for token in random_tokens(model, 48, seed=4):
        assert_same_bits(with_pdl.decode(int(token)), without.decode(int(token)), f"position {without.length - 1}")
    if graph == "on":
        assert with_pdl.engaged()["pdl"].engaged is True, with_pdl.engaged()["pdl"]
        assert without.engaged()["pdl"].engaged is True, without.engaged()["pdl"]


def test_portable_kernels_change_no_bit(device: Device, models: Models) -> None:
    if not device.has_pdl:
        not_applicable("this device has one set of kernels")
    model = models.tiny("Q4_K_M")
    newest = session(device, model, context=64)
    portable = session(device, model, context=64, portable="on")
    for token in random_tokens(model, 48, seed=4):
        assert_same_bits(portable.decode(int(token)), newest.decode(int(token)), f"position {newest.length - 1}")
    assert portable.engaged()["portable"].engaged is True
    assert portable.engaged()["pdl"].engaged is None
    assert newest.engaged()["pdl"].engaged is True


def test_a_thousand_positions(device: Device, models: Models) -> None:
    """One graph, captured once, serves 1000 different positions; splits of the cache come into sight on the way."""
    model = models.micro()
    replayed, direct = _both(device, model, context=1000)
    for token in random_tokens(model, 1000, seed=5):
        assert_same_bits(replayed.decode(int(token)), direct.decode(int(token)), f"position {direct.length - 1}")
    assert replayed.counters.graph_launches == 1000
    _assert_engaged(replayed, direct)


def test_one_position_a_thousand_times(device: Device, models: Models) -> None:
    model = models.micro()
    replayed = session(device, model, context=300)
    replayed.prefill(random_tokens(model, 270, seed=6))
    first = replayed.decode(7)
    for _ in range(999):
        replayed.truncate(270)
        assert_same_bits(replayed.decode(7), first, "the same step again")
    assert replayed.counters.graph_launches == 1000


@pytest.mark.parametrize("graph", ["on", "off"])
@pytest.mark.parametrize("limit", [1, 3, 66, 132])
def test_any_grid_gives_the_same_bits(device: Device, models: Models, limit: int, graph: str) -> None:
    model = models.tiny("Q4_K_M")
    free = session(device, model, context=300)
    forced = session(device, model, context=300, grid_limit=limit, graph=graph)
    tokens = random_tokens(model, 262, seed=7)
    assert_same_bits(forced.prefill(tokens[:258]), free.prefill(tokens[:258]), f"prefill with at most {limit} blocks")
    for token in tokens[258:]:
        assert_same_bits(forced.decode(int(token)), free.decode(int(token)), f"at most {limit} blocks")


def test_capture_survives_reset_and_another_prefill(device: Device, models: Models) -> None:
    model = models.tiny("Q8_0")
    replayed, direct = _both(device, model, context=64)
    for seed, length in ((8, 5), (9, 17), (10, 1)):
        tokens = random_tokens(model, length + 4, seed=seed)
        for s in (replayed, direct):
            s.reset()
        assert_same_bits(replayed.prefill(tokens[:length]), direct.prefill(tokens[:length]), f"prefill of {length}")
        for token in tokens[length:]:
            assert_same_bits(replayed.decode(int(token)), direct.decode(int(token)), f"after a prefill of {length}")
    _assert_engaged(replayed, direct)
    assert replayed.counters.graph_launches == 12


def test_two_sessions_side_by_side(device: Device, models: Models) -> None:
    """Each has its own graph, cache and position; steps interleaved."""
    model = models.tiny("Q4_0")
    left, right = session(device, model, context=40), session(device, model, context=24, kv="f32")
    alone_left = session(device, model, context=40, graph="off")
    alone_right = session(device, model, context=24, kv="f32", graph="off")
    left_tokens, right_tokens = random_tokens(model, 12, seed=11), random_tokens(model, 12, seed=12)
    right.prefill(right_tokens[:3])
    alone_right.prefill(right_tokens[:3])
    for a, b in zip(left_tokens[:9], right_tokens[3:], strict=True):
        got_left, got_right = left.decode(int(a)), right.decode(int(b))
        assert_same_bits(got_left, alone_left.decode(int(a)), "left")
        assert_same_bits(got_right, alone_right.decode(int(b)), "right")
    assert left.counters.graph_launches == right.counters.graph_launches == 9


def test_a_failed_capture_is_said_and_leaves_the_session_right(
    device: Device, models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something that cannot be captured (a copy to the host) happens inside the region."""
    model = models.tiny("Q8_0")
    broken, direct = _both(device, model, context=16)
    region = broken._region

    def with_a_read(rows: int) -> None:
        region(rows)
        broken._buffers.x.read()

    monkeypatch.setattr(broken, "_region", with_a_read)
    for token in random_tokens(model, 6, seed=13):
        assert_same_bits(broken.decode(int(token)), direct.decode(int(token)), "direct after a failed capture")
    engagement = broken.engaged()["graph"]
    assert engagement.engaged is False
    assert "capture failed" in engagement.reason
    assert broken.counters.graph_launches == 0


def test_nothing_can_be_planned_after_allocation(device: Device, models: Models) -> None:
    s = session(device, models.micro(), context=8)
    s.decode(1)
    with pytest.raises(Exception, match="after allocation"):
        s._arena.plan("late scratch", (4,), np.float32)


def test_buffers_never_move(device: Device, models: Models) -> None:
    model = models.micro()
    s = session(device, model, context=300)
    before = {buffer.name: buffer.ptr for buffer in s._arena}
    s.prefill(random_tokens(model, 280, seed=14))
    s.decode(3)
    s.reset()
    s.generate([1, 2], 4)
    assert {buffer.name: buffer.ptr for buffer in s._arena} == before


def test_unwritten_memory_is_never_read(device: Device, models: Models) -> None:
    """Scratch and unwritten cache cells hold NaN before every step."""
    model = models.tiny("Q4_K_M")
    poisoned, clean = session(device, model, context=40), session(device, model, context=40)
    tokens = random_tokens(model, 14, seed=15)
    poisoned.poison()
    logits = poisoned.prefill(tokens[:9])
    assert np.isfinite(logits).all(), "fresh memory may hold NaN too: equal bits alone show nothing"
    assert_same_bits(logits, clean.prefill(tokens[:9]), "prefill over poison")
    for token in tokens[9:]:
        poisoned.poison()
        logits = poisoned.decode(int(token))
        assert np.isfinite(logits).all(), f"position {poisoned.length - 1}"
        assert_same_bits(logits, clean.decode(int(token)), "decode over poison")


def test_memory_is_what_the_allocator_says(device: Device, models: Models) -> None:
    gc.collect()  # what an earlier test has left in a cycle would be freed while this one counts
    before = device.used_bytes()
    s = session(device, models.tiny("Q4_K_M"), context=48)
    assert s.memory_bytes() == device.used_bytes() - before > 0
    s.prefill([1, 2, 3])
    s.decode(4)
    assert device.used_bytes() - before == s.memory_bytes(), "a step allocated"
    s.close()
    assert device.used_bytes() == before


def test_generate_equals_decoding_by_hand(device: Device, models: Models) -> None:
    """Token and position moved on the device against token and position given by the host."""
    model = models.tiny("Q4_K_M")
    prompt = random_tokens(model, 7, seed=16)
    generated = session(device, model, context=24).generate(prompt, 12)
    by_hand = session(device, model, context=24, graph="off")
    logits = by_hand.prefill(prompt)[0]
    for n, token in enumerate(generated):
        assert token == int(np.argmax(logits)), f"token {n}"
        if n < 11:
            logits = by_hand.decode(token)


@pytest.mark.parametrize("graph", ["on", "off"])
@pytest.mark.parametrize("path", ["auto", "matvec", "gemm"])
@pytest.mark.parametrize("rows", [1, 4, 8])
def test_rows_verified_at_once_are_those_decoded_one_by_one(
    device: Device, models: Models, rows: int, path: str, graph: str
) -> None:
    """Across the border of an attention split at 256, and again after the graph has served another position."""
    model = models.tiny("Q4_K_M")
    tokens = random_tokens(model, 262, seed=21)
    verified = session(device, model, context=300, graph=graph, matmul=path)
    decoded = session(device, model, context=300)
    for first in (20, 254):
        for s in (verified, decoded):
            s.reset()
            s.prefill(tokens[:first])
        expected = np.stack([decoded.decode(int(token)) for token in tokens[first : first + rows]])
        assert_same_bits(verified.verify(tokens[first : first + rows]), expected, f"{rows} rows from {first}")
        assert verified.length == first + rows
        assert_same_bits(verified.decode(7), decoded.decode(7), "the step behind them")
    engagement = verified.engaged()["graph"]
    assert engagement.engaged is (graph == "on"), engagement
    assert f"{2 if graph == 'on' else 0} of 2 passes of a few rows" in engagement.detail


def test_every_number_of_rows_has_a_graph_of_its_own(device: Device, models: Models) -> None:
    model = models.tiny("Q8_0")
    verified, decoded = _both(device, model, context=64)
    tokens = random_tokens(model, 40, seed=24)
    at = 0
    for rows in (4, 2, 8, 4, 1, 8):
        now = tokens[at : at + rows]
        expected = np.stack([decoded.decode(int(token)) for token in now])
        assert_same_bits(verified.verify(now), expected, f"{rows} rows at {at}")
        at += rows
    assert verified.counters.graph_launches == 6


def test_a_pass_made_again_changes_nothing(device: Device, models: Models) -> None:
    model = models.tiny("Q8_0")
    s, tokens = session(device, model, context=32), random_tokens(model, 12, seed=22)
    s.prefill(tokens[:8])
    expected = s.verify(tokens[8:])
    after = s.decode(3)
    s.truncate(8)
    s.verify(tokens[8:])
    s.verify_again(4, 5)
    assert s.length == 12
    assert_same_bits(s.decode(3), after, "behind a pass made six times")
    s.truncate(8)
    assert_same_bits(s.verify(tokens[8:]), expected, "the pass itself")
    assert s.counters.graph_launches == 10


def test_more_rows_than_logits_are_refused(device: Device, models: Models) -> None:
    model = models.micro()
    s = session(device, model, context=64, chunk=4)
    with pytest.raises(BadInput, match="5 tokens to verify at once: this session computes logits of 4 rows"):
        s.verify(random_tokens(model, 5, seed=23))
    assert s.length == 0
