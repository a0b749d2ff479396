"""A proof fails for one differing bit, for a path that did not engage, and when nothing was compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from harness.adapters.protocol import Logits, Tokens
from harness.check_names import AT_DEPTH, PAIRS, VERIFIED
from harness.compare import Comparison, compare
from harness.proof import NOTHING_FINITE, Evidence, ProofTokens, Prover, flipped, judge, proof_tokens
from harness.schema import Check, Path
from suites.harness.fakes import VOCAB, FakeEngine, formula

TOGGLES: dict[str, str | int] = {"chunk": 128, "graph": "on", "prefill": "batched", "pdl": "on", "kv": "f16"}
TOKENS = proof_tokens(VOCAB, prefilled=6, decoded=3)
EXPECTED = np.stack([formula(i, int(token)) for i, token in enumerate(TOKENS.ids)])


def oracle(logits: Logits) -> tuple[Comparison, str]:
    return compare(logits, EXPECTED), "the formula"


def checks(
    *, twin: Mapping[str, FakeEngine] | None = None, engine: FakeEngine | None = None, has_pdl: bool = True
) -> dict[str, Check]:
    """The proof of `engine` against twins, some of them given by the toggle they differ in."""
    given = twin or {}

    def open_twin(toggles: Mapping[str, str | int]) -> FakeEngine:
        name = next(name for name in PAIRS if toggles[name] != TOGGLES[name])
        return given.get(name) or FakeEngine(toggles)

    prover = Prover(
        engine=engine or FakeEngine(TOGGLES),
        toggles=TOGGLES,
        open_twin=open_twin,
        tokens=TOKENS,
        oracle=oracle,
        has_pdl=has_pdl,
    )
    return {check.name: check for check in prover.checks("before")}


def test_equal_engines_pass_every_check_over_every_position() -> None:
    found = checks()
    assert set(found) == {"graph = direct", "batched = sequential", "pdl = no pdl", "engine = oracle"}
    for check in found.values():
        assert (check.status, check.values, check.differing) == ("passed", 9 * VOCAB, 0)
        assert check.left
        assert check.right


@pytest.mark.parametrize("position", [0, 5, 6, 8])  # prefilled and decoded
@pytest.mark.parametrize("toggle", ["graph", "prefill", "pdl"])
def test_one_ulp_in_one_twin_fails_its_check_only(toggle: str, position: int) -> None:
    spoiled = FakeEngine(flipped(TOGGLES, toggle), spoiled=frozenset((position,)))
    found = checks(twin={toggle: spoiled})
    failed = [name for name, check in found.items() if check.status == "failed"]
    assert failed == [PAIRS[toggle][2]]
    check = found[failed[0]]
    assert (check.differing, check.worst_ulp) == (1, 1)
    assert f"[{position}, 3]" in check.first_difference


def test_one_ulp_in_the_engine_fails_all_checks() -> None:
    found = checks(engine=FakeEngine(TOGGLES, spoiled=frozenset((8,))))
    assert {check.status for check in found.values()} == {"failed"}


def test_an_engine_that_was_right_before_is_asked_again() -> None:
    engine = FakeEngine(TOGGLES)
    prover = Prover(engine=engine, toggles=TOGGLES, open_twin=FakeEngine, tokens=TOKENS, oracle=oracle, has_pdl=True)
    assert {check.status for check in prover.checks("before")} == {"passed"}
    engine.spoiled = frozenset((8,))  # by whatever was timed in between
    assert {check.status for check in prover.checks("after")} == {"failed"}


@pytest.mark.parametrize("toggle", ["graph", "prefill"])
def test_a_side_that_did_not_engage_fails_though_the_bits_agree(toggle: str) -> None:
    found = checks(engine=FakeEngine(TOGGLES, engages=False))
    check = found[PAIRS[toggle][2]]
    assert check.status == "failed"
    assert check.differing == 0
    assert "did not engage" in check.reason


def test_direct_launches_that_were_replayed_fail() -> None:
    cheat = FakeEngine(TOGGLES)  # says that the graph ran
    check = checks(twin={"graph": cheat})["graph = direct"]
    assert check.status == "failed"
    assert "graph off did not engage" in check.reason


def test_without_pdl_its_check_is_not_applicable_and_says_so() -> None:
    check = checks(has_pdl=False)["pdl = no pdl"]
    assert (check.status, check.values) == ("not_applicable", 0)
    assert check.reason


def test_bits_that_differ_fail_where_pdl_does_not_apply() -> None:
    left = {"pdl": Path(asked="on", engaged=None, reason="no such launch")}
    right = {"pdl": Path(asked="off", engaged=True)}
    ones = np.ones((2, VOCAB), np.float32)

    def pdl(other: Logits) -> Check:
        sides = Evidence(logits=ones, engaged=left), Evidence(logits=other, engaged=right)
        return judge("pdl = no pdl", "after", *sides, toggle="pdl", values=("on", "off"))

    assert pdl(ones).status == "not_applicable"
    assert pdl(np.nextafter(ones, np.float32(2))).status == "failed"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_all_lost_show_nothing(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    lost = np.full(VOCAB, value, np.float32)
    monkeypatch.setattr("suites.harness.fakes.formula", lambda position, token: lost)
    monkeypatch.setitem(globals(), "EXPECTED", np.stack([lost] * len(TOKENS.ids)))
    found = checks()
    assert {check.status for check in found.values()} == {"not_applicable"}
    assert {check.reason for check in found.values()} == {NOTHING_FINITE}


def test_one_finite_logit_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = np.full(VOCAB, np.nan, np.float32)
    lost[3] = 1
    monkeypatch.setattr("suites.harness.fakes.formula", lambda position, token: lost.copy())
    monkeypatch.setitem(globals(), "EXPECTED", np.stack([lost] * len(TOKENS.ids)))
    assert {check.status for check in checks().values()} == {"passed"}
    spoiled = checks(engine=FakeEngine(TOGGLES, spoiled=frozenset((8,))))
    assert {check.status for check in spoiled.values()} == {"failed"}


def test_nothing_compared_fails() -> None:
    path = {"graph": Path(asked="on", engaged=True)}
    other = {"graph": Path(asked="off", engaged=False)}
    empty = np.zeros((0, VOCAB), np.float32)
    check = judge(
        "graph = direct",
        "after",
        Evidence(logits=empty, engaged=path),
        Evidence(logits=empty, engaged=other),
        toggle="graph",
        values=("on", "off"),
    )
    assert (check.status, check.reason) == ("failed", "nothing compared")


def test_left_and_right_keep_their_names_whichever_side_the_row_is_on() -> None:
    off = {**TOGGLES, "graph": "off"}
    prover = Prover(
        engine=FakeEngine(off), toggles=off, open_twin=FakeEngine, tokens=TOKENS, oracle=oracle, has_pdl=False
    )
    check = next(check for check in prover.checks("after") if check.name == "graph = direct")
    assert check.status == "passed"
    assert check.left.startswith("graph on: engaged")
    assert check.right.startswith("graph off: not engaged")


def test_tokens_depend_on_their_lengths_and_the_vocabulary_alone() -> None:
    again = proof_tokens(VOCAB, prefilled=6, decoded=3)
    assert (again.ids == TOKENS.ids).all()
    assert len(again.prefilled) == 6
    assert again.decoded == [int(token) for token in TOKENS.ids[6:]]
    assert ((again.ids >= 0) & (again.ids < VOCAB)).all()


def test_twins_that_are_known_are_not_opened_again_and_still_compared() -> None:
    opened: list[Mapping[str, str | int]] = []
    twins: dict[object, Evidence] = {}

    def statuses(engine: FakeEngine, tokens: ProofTokens = TOKENS) -> list[str]:
        def open_twin(toggles: Mapping[str, str | int]) -> FakeEngine:
            opened.append(toggles)
            return FakeEngine(toggles)

        prover = Prover(
            engine=engine, toggles=engine.toggles, open_twin=open_twin, tokens=tokens, oracle=oracle, has_pdl=True,
            twins=twins,
        )  # fmt: skip
        return [check.status for check in prover.checks("before") if check.name != "engine = oracle"]

    assert statuses(FakeEngine(TOGGLES)) == statuses(FakeEngine(TOGGLES)) == ["passed"] * 3
    assert len(opened) == 3
    assert statuses(FakeEngine(TOGGLES, spoiled=frozenset((8,)))) == ["failed"] * 3
    assert statuses(FakeEngine(TOGGLES), proof_tokens(VOCAB, prefilled=5, decoded=4)) == ["passed"] * 3
    assert statuses(FakeEngine({**TOGGLES, "kv": "f32"})) == ["passed"] * 3
    assert len(opened) == 9


class OneOff(FakeEngine):
    """A pass of several rows at once has another last bit in one value."""

    def verify(self, tokens: Tokens) -> Logits:
        logits = super().verify(tokens)
        logits[-1, 2] = np.nextafter(logits[-1, 2], np.float32(np.inf))
        return logits


def verified(engine: FakeEngine) -> Check:
    prover = Prover(
        engine=engine, toggles=TOGGLES, open_twin=FakeEngine, tokens=TOKENS, oracle=oracle, has_pdl=True, verify=2,
        only=VERIFIED,
    )  # fmt: skip
    (check,) = prover.checks("after")
    return check


def test_rows_at_once_are_compared_with_decoded_ones() -> None:
    check = verified(FakeEngine(TOGGLES))
    assert (check.name, check.when, check.status, check.values) == (VERIFIED, "after", "passed", 2 * VOCAB)


def test_fewer_rows_than_are_timed_at_once_prove_nothing() -> None:
    with pytest.raises(ValueError, match="verify 4: the proof decodes 3 tokens"):
        Prover(
            engine=FakeEngine(TOGGLES), toggles=TOGGLES, open_twin=FakeEngine, tokens=TOKENS, oracle=oracle,
            has_pdl=True, verify=4,
        )  # fmt: skip


def test_one_ulp_of_rows_at_once_fails() -> None:
    check = verified(OneOff(TOGGLES))
    assert (check.status, check.differing, check.worst_ulp) == ("failed", 1, 1)


def test_rows_at_once_that_were_not_replayed_fail() -> None:
    check = verified(FakeEngine(TOGGLES, engages=False))
    assert check.status == "failed"
    assert "graph on did not engage" in check.reason


def deep(engine: FakeEngine, toggles: Mapping[str, str | int] = TOGGLES) -> Check:
    prover = Prover(
        engine=engine, toggles=toggles, open_twin=FakeEngine, tokens=TOKENS, oracle=oracle, has_pdl=True, only=AT_DEPTH
    )  # fmt: skip
    engine.reset()
    engine.prefill(range(50))
    return prover.at_depth(40)


def test_at_depth_the_bits_of_both_ways_are_compared_where_the_row_was_timed() -> None:
    engine = FakeEngine(TOGGLES)
    check = deep(engine)
    assert (check.name, check.when, check.status, check.values) == (AT_DEPTH, "after", "passed", 3 * VOCAB)
    assert engine.length == 43


def test_at_depth_one_ulp_fails() -> None:
    check = deep(OneOff(TOGGLES))
    assert (check.status, check.differing, check.worst_ulp) == ("failed", 1, 1)
    assert deep(FakeEngine(TOGGLES, engages=False)).status == "failed"


def test_at_depth_one_row_at_once_shows_nothing() -> None:
    check = deep(FakeEngine(TOGGLES), {**TOGGLES, "chunk": 1})
    assert (check.status, check.reason) == ("not_applicable", "no pass can hold more than one row")
