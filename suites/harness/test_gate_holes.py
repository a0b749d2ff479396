"""Ways in which a row could have passed the gate without having been shown: each is closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.schema import Canary, Measurement, ProcessAnswer
from suites.harness import gate_fakes
from suites.harness.gate_fakes import Act, Machine, builds, gate, one, plan, samples, scaled


def test_a_row_throttled_to_nothing_in_both_arms_has_no_times_and_is_no_pass(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        reason = "decode: 50 of 50 samples were taken while the GPU was slowed down"
        return msgspec.structs.replace(measured, status="throttled", reason=reason, decode=None, prefill=None)

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, result.exit_code) == ("cannot_tell", 3)
    assert "slowed down" in row.reason


def test_a_row_that_no_arm_timed_on_a_gpu_is_broken(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return msgspec.structs.replace(measured, decode=None)

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, row.reason, result.exit_code) == ("broken", "base was not timed", 2)


@pytest.mark.parametrize("first", [4, 6])
def test_a_canary_that_moves_behind_the_first_look_has_moved(tmp_path: Path, first: int) -> None:
    """A noisy row asks for all 16 pairs; the canaries of all of them count, not those up to their own first look."""

    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, 1.06 if (act.side == "head") is (act.pair % 2 == 0) else 1.0)

    def answer(act: Act, told: ProcessAnswer) -> ProcessAnswer:
        factor = 1.05 if act.side == "head" and act.pair >= first else 1.0
        sung = tuple(Canary(name=one.name, samples=samples(one.samples.median * factor)) for one in told.canaries)
        return msgspec.structs.replace(told, canaries=sung)

    result = gate(tmp_path, Machine(spoil=spoil, answer=answer), plan(24))
    assert result.pairs_spent == 16
    assert all(canary.moved and canary.pairs == 16 for canary in result.canaries)


@pytest.mark.parametrize("gone", ["before", "after"])
def test_a_check_that_head_makes_once_and_base_twice_is_broken(tmp_path: Path, gone: str) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        kept = [check for check in measured.proof if check.name != "engine = oracle" or check.when != gone]
        return msgspec.structs.replace(measured, proof=tuple(kept)) if act.side == "head" else measured

    row = one(gate(tmp_path, Machine(spoil=spoil), plan(24)), 24, "parity")
    assert row.verdict == "broken"
    assert row.reason == f"engine = oracle ({gone} the timed loop): base makes it, and head does not show it"


def test_a_check_that_fails_in_base_and_is_gone_in_head_is_broken(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        kept = [check for check in measured.proof if check.name != "engine = oracle"]
        if act.side == "head":
            return msgspec.structs.replace(measured, proof=tuple(kept))
        bad = [msgspec.structs.replace(check, status="failed", differing=1) for check in measured.proof[1::2]]
        return msgspec.structs.replace(measured, status="parity_failed", proof=(*kept, *bad))

    assert one(gate(tmp_path, Machine(spoil=spoil), plan(24)), 24, "parity").verdict == "broken"


def test_a_row_that_is_answered_twice_is_broken_and_its_failure_not_replaced(tmp_path: Path) -> None:
    def answer(act: Act, told: ProcessAnswer) -> ProcessAnswer:
        failed = [msgspec.structs.replace(row, status="parity_failed", proof=()) for row in told.rows]
        return msgspec.structs.replace(told, rows=(*failed, *told.rows)) if act.side == "head" else told

    result = gate(tmp_path, Machine(answer=answer), plan(24))
    row = one(result, 24, "parity")
    assert (row.verdict, row.reason, result.exit_code) == ("broken", "head answered the row more than once", 2)


def test_two_arms_of_one_tree_are_said_to_be_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "both arms are the same source tree"
    assert not any(words in note for note in gate(tmp_path / "a", Machine(), plan(24)).notes)
    made = {
        side: replace(build, arm=msgspec.structs.replace(build.arm, tree="one")) for side, build in builds().items()
    }
    monkeypatch.setattr(gate_fakes, "builds", lambda **_: made)
    assert any(words in note for note in gate(tmp_path / "b", Machine(), plan(24)).notes)


def test_a_check_that_one_process_of_head_does_not_make_is_broken(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        kept = [check for check in measured.proof if check.name != "engine = oracle"]
        last = act.side == "head" and act.pair == 3
        return msgspec.structs.replace(measured, proof=tuple(kept)) if last else measured

    assert one(gate(tmp_path, Machine(spoil=spoil), plan(24)), 24, "parity").verdict == "broken"


def test_bits_that_differ_in_the_confirmation_alone_are_wrong(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if act.side != "head":
            return measured
        slow = scaled(measured, 1.05)
        if (act.stage, act.pair) != ("confirm", 5):
            return slow
        bad = msgspec.structs.replace(slow.proof[0], status="failed", differing=3, reason="3 of 1000 values differ")
        return msgspec.structs.replace(slow, status="parity_failed", proof=(bad, *slow.proof[1:]))

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    assert (one(result, 24, "parity").verdict, result.exit_code) == ("wrong", 1)
    assert result.parity.checks[0].failed == 1
    assert "3 of 1000 values differ" in result.parity.first_divergence


NOT_FLAT = "the warm-up of 20.0 s did not become flat within 0.5 %"


@pytest.mark.parametrize("side", ["base", "head"])
@pytest.mark.parametrize(("words", "spoiled"), [(f"decode: {NOT_FLAT}", {"decode"}), (NOT_FLAT, {"decode", "prefill"})])
def test_a_warm_up_that_never_became_flat_breaks_what_was_sampled_behind_it(
    tmp_path: Path, side: str, words: str, spoiled: set[str]
) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return msgspec.structs.replace(measured, warm_up=words) if (act.side, act.pair) == (side, 3) else measured

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    broken = {row.metric: row.reason for row in result.rows if row.verdict == "broken"}
    assert broken == dict.fromkeys(spoiled, f"{side}: {words}")
    assert (one(result, 24, "parity").verdict, result.exit_code) == ("same", 2)


def test_a_warm_up_before_rows_at_once_is_not_that_of_decode(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return msgspec.structs.replace(measured, warm_up=f"verify: {NOT_FLAT}")

    assert gate(tmp_path, Machine(spoil=spoil), plan(24)).exit_code == 0


@pytest.mark.parametrize("side", ["base", "head"])
def test_a_median_that_is_not_that_of_its_samples_is_broken(tmp_path: Path, side: str) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if (act.side, act.pair) != (side, 0):
            return measured
        assert measured.decode is not None
        return msgspec.structs.replace(measured, decode=msgspec.structs.replace(samples(2500.0), median=2501.0))

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, result.exit_code) == ("broken", 2)
    assert row.reason == f"{side}: 2501 us is not the median of its 50 samples, which is 2500 us"
    assert one(result, 24, "prefill").verdict == "same"


def test_a_broken_time_is_not_hidden_by_one_that_cannot_tell(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if act.side == "base":
            return msgspec.structs.replace(measured, status="throttled", reason="too hot")
        return msgspec.structs.replace(measured, warm_up=f"decode: {NOT_FLAT}")

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    assert (one(result, 24, "decode").verdict, one(result, 24, "prefill").verdict) == ("broken", "cannot_tell")
    assert result.exit_code == 2


def test_a_confirmation_that_is_broken_confirms_nothing_and_is_broken(tmp_path: Path) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        slow = scaled(measured, 1.05) if act.side == "head" else measured
        return msgspec.structs.replace(slow, warm_up=f"decode: {NOT_FLAT}") if act.stage == "confirm" else slow

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, row.confirmation, result.exit_code) == ("broken", "not confirmed", 2)
    assert row.reason == f"slower at first, and while that was confirmed base: decode: {NOT_FLAT}"


@pytest.mark.parametrize("discarded", [0, 20])
def test_a_confirmation_at_another_clock_or_throttled_confirms_nothing(tmp_path: Path, discarded: int) -> None:
    def spoil(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if act.side == "base":
            return measured
        if act.stage != "confirm":
            return scaled(measured, 1.05)
        mhz = 1980.0 if discarded else 1880.0
        return msgspec.structs.replace(measured, decode=samples(2500 * 1.05, mhz=mhz, discarded=discarded))

    result = gate(tmp_path, Machine(spoil=spoil), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, row.confirmation, result.exit_code) == ("cannot_tell", "not confirmed", 3)
    why = "head throttled: 29%" if discarded else "the SM clock of head was -5.1 % against base"
    assert row.reason.startswith(f"slower at first, and while that was confirmed {why}")


def test_a_process_that_dies_while_it_confirms_is_broken_and_says_how(tmp_path: Path) -> None:
    slow = Machine(
        spoil=lambda act, measured, prompt: scaled(measured, 1.05) if act.side == "head" else measured,
        dies=lambda act: "killed by SIGSEGV" if (act.stage, act.side, act.pair) == ("confirm", "head", 2) else "",
    )
    result = gate(tmp_path, slow, plan(24))
    assert (result.exit_code, [row.verdict for row in result.rows]) == (2, ["broken"])
    assert result.rows[0].reason == "the process of head died: killed by SIGSEGV"


def test_a_canary_whose_median_is_not_that_of_its_samples_has_moved(tmp_path: Path) -> None:
    def answer(act: Act, told: ProcessAnswer) -> ProcessAnswer:
        sung = [
            msgspec.structs.replace(one, samples=msgspec.structs.replace(one.samples, values=(90.0, 91.0, 92.0)))
            for one in told.canaries
        ]
        return msgspec.structs.replace(told, canaries=tuple(sung))

    result = gate(tmp_path, Machine(answer=answer), plan(24))
    assert {canary.reason for canary in result.canaries} == {"a median that is not that of its samples"}
    assert result.exit_code == 3
