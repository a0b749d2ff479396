"""The gate's verdicts on processes that answer from a noise model, each with one fault planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.gate.processes import plain_uuid
from harness.gate.schema import CONFIRMED_HERE, NOT_CONFIRMED, CanaryVerdict
from harness.gate.verdicts import exit_code
from harness.schema import Check, Measurement, ProcessAnswer
from suites.harness.gate_fakes import ELSEWHERE, HERE, Act, Machine, gate, gpu, one, plan, samples, scaled

Spoil = Callable[[Act, Measurement, int], Measurement | None]


def on_head(change: Callable[[Measurement], Measurement | None], *, prompt: int = 24) -> Spoil:
    """The fault in head alone, in one row."""

    def spoil(act: Act, measured: Measurement, at: int) -> Measurement | None:
        return change(measured) if act.side == "head" and at == prompt else measured

    return spoil


def test_the_same_build_twice_passes_after_the_first_look(tmp_path: Path) -> None:
    machine = Machine()
    result = gate(tmp_path, machine, plan(24, 260))
    assert result.exit_code == 0
    assert {row.verdict for row in result.rows} == {"same"}
    assert {(row.shape.prompt, row.metric) for row in result.rows} == {
        (prompt, metric) for prompt in (24, 260) for metric in ("parity", "counts", "decode", "prefill")
    }
    assert [(act.side, act.pair) for act in machine.acts] == [
        ("base", 0),
        ("head", 0),
        ("head", 1),
        ("base", 1),
        ("head", 2),
        ("base", 2),
        ("base", 3),
        ("head", 3),
    ]
    assert {act.gpu for act in machine.acts} == {HERE}
    assert result.pairs_spent == 4
    decode = one(result, 24, "decode")
    assert decode.ratio == pytest.approx(1, abs=0.005)
    assert decode.low is not None
    assert decode.high is not None
    assert decode.low < 1 < decode.high < 1.03
    assert decode.smallest_visible is not None
    assert 0 < decode.smallest_visible < 0.05
    assert result.parity.checks[0].passed == 2 * 4 * 2
    assert result.head.version == "0.1.0"


def test_a_slowdown_of_3_percent_is_confirmed_and_exits_1(tmp_path: Path) -> None:
    machine = Machine(spoil=on_head(lambda measured: scaled(measured, 1.03)))
    result = gate(tmp_path, machine, plan(24, 260))
    row = one(result, 24, "decode")
    assert result.exit_code == 1
    assert (row.verdict, row.confirmation) == ("slower", CONFIRMED_HERE)
    assert row.ratio == pytest.approx(1.03, abs=0.005)
    assert {other.verdict for other in result.rows if other != row} == {"same"}
    confirming = [act for act in machine.acts if act.stage == "confirm"]
    assert len(confirming) == 16
    assert result.headline.startswith("REGRESSION: 1 slower")
    assert row.rerun == "zeroulp gate main mine --where 'prompt == 24'"


def test_it_is_confirmed_on_another_gpu_if_there_is_one(tmp_path: Path) -> None:
    machine = Machine(spoil=on_head(lambda measured: scaled(measured, 1.05)))
    result = gate(tmp_path, machine, plan(24, others=[ELSEWHERE]))
    assert one(result, 24, "decode").confirmation == f"confirmed on {ELSEWHERE}"
    assert {act.gpu for act in machine.acts if act.stage == "confirm"} == {ELSEWHERE}


def test_a_slowdown_that_does_not_repeat_is_visible_and_neutral(tmp_path: Path) -> None:
    def once(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, 1.05) if act.side == "head" and act.stage == "pairs" else measured

    result = gate(tmp_path, Machine(spoil=once), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, row.confirmation) == ("cannot_tell", NOT_CONFIRMED)
    assert "slower at first" in row.reason
    assert row.ratio == pytest.approx(1.05, abs=0.01)
    assert result.exit_code == 3


def test_a_faster_row_says_so(tmp_path: Path) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(lambda measured: scaled(measured, 0.95))), plan(24))
    assert one(result, 24, "decode").verdict == "faster"
    assert result.exit_code == 0


def test_a_row_that_is_much_faster_is_checked_for_parity_again(tmp_path: Path) -> None:
    machine = Machine(spoil=on_head(lambda measured: scaled(measured, 0.8)))
    assert gate(tmp_path, machine, plan(24, 260)).exit_code == 0
    assert [(act.side, act.stage) for act in machine.acts if act.stage == "recheck"] == [("head", "recheck")]


def test_a_much_faster_row_that_is_wrong_in_a_fresh_process_fails(tmp_path: Path) -> None:
    def cached(act: Act, measured: Measurement, prompt: int) -> Measurement:
        if act.side == "base":
            return measured
        return wrong(measured) if act.stage == "recheck" else scaled(measured, 0.03)

    result = gate(tmp_path, Machine(spoil=cached), plan(24))
    assert one(result, 24, "parity").verdict == "wrong"
    assert result.exit_code == 1


def test_a_row_that_is_97_percent_faster_because_nothing_was_measured_is_broken(tmp_path: Path) -> None:
    def nothing(measured: Measurement) -> Measurement:
        return msgspec.structs.replace(scaled(measured, 0.03), launches_per_token=0.0, graph_kernels_per_token=0.0)

    result = gate(tmp_path, Machine(spoil=on_head(nothing)), plan(24))
    assert one(result, 24, "counts").verdict == "broken"
    assert result.exit_code == 2


def wrong(measured: Measurement) -> Measurement:
    bad = Check(
        name="graph = direct",
        when="after",
        status="failed",
        reason="1 of 1000 values differ",
        values=1000,
        differing=1,
        first_difference="[3, 5]: 1 against 2",
    )
    return msgspec.structs.replace(
        measured, status="parity_failed", reason=bad.reason, proof=(*measured.proof[:2], bad, measured.proof[3])
    )


def test_one_wrong_bit_exits_1_and_names_the_check(tmp_path: Path) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(wrong)), plan(24, 260))
    row = one(result, 24, "parity")
    assert row.verdict == "wrong"
    assert "graph = direct (after the timed loop): 1 of 1000 values differ; first at [3, 5]" in row.reason
    assert "24 + 8 tokens" in result.parity.first_divergence
    assert result.parity.reproduce == "zeroulp gate main mine --where 'prompt == 24'"
    assert result.exit_code == 1
    assert one(result, 260, "decode").verdict == "same"


def test_differing_bits_fail_whatever_the_check_says(tmp_path: Path) -> None:
    def liar(measured: Measurement) -> Measurement:
        check = msgspec.structs.replace(measured.proof[0], differing=1)
        return msgspec.structs.replace(measured, proof=(check, *measured.proof[1:]))

    assert gate(tmp_path, Machine(spoil=on_head(liar)), plan(24)).exit_code == 1


def proof(measured: Measurement, **changes: object) -> Measurement:
    checks = tuple(msgspec.structs.replace(check, **changes) for check in measured.proof)
    return msgspec.structs.replace(measured, proof=checks)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda measured: proof(measured, status="not_applicable"), "nothing was proven before"),
        (lambda measured: proof(measured, values=0), "passed without a value compared"),
        (lambda measured: msgspec.structs.replace(measured, proof=()), "nothing was proven before"),
        (lambda measured: msgspec.structs.replace(measured, proof=measured.proof[:2]), "nothing was proven after"),
        (lambda measured: msgspec.structs.replace(measured, proof=measured.proof[::2]), "head does not show it"),
    ],
)
def test_a_proof_with_a_hole_is_no_pass(
    tmp_path: Path, change: Callable[[Measurement], Measurement], reason: str
) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(change)), plan(24))
    row = one(result, 24, "parity")
    assert (row.verdict, result.exit_code) == ("broken", 2)
    assert reason in row.reason


def test_a_proof_that_shrank_cannot_tell(tmp_path: Path) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(lambda measured: proof(measured, values=999))), plan(24))
    row = one(result, 24, "parity")
    assert (row.verdict, result.exit_code) == ("cannot_tell", 3)
    assert row.reason == "graph = direct (before the timed loop): 999 values compared, base compared 1,000"


@pytest.mark.parametrize("pair", [0, 3])
def test_one_process_of_base_that_compared_more_is_what_head_is_held_to(tmp_path: Path, pair: int) -> None:
    def more(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return proof(measured, values=1001) if (act.side, act.pair) == ("base", pair) else measured

    result = gate(tmp_path, Machine(spoil=more), plan(24))
    assert (one(result, 24, "parity").verdict, result.exit_code) == ("cannot_tell", 3)


def test_a_row_that_vanishes_is_missing(tmp_path: Path) -> None:
    result = gate(tmp_path, Machine(spoil=on_head(lambda measured: None)), plan(24, 260))
    assert {row.shape.prompt for row in result.rows} == {24, 260}
    assert one(result, 24, "parity").verdict == "missing"
    assert one(result, 260, "parity").verdict == "same"
    assert result.exit_code == 2


def test_a_process_that_dies_breaks_its_rows(tmp_path: Path) -> None:
    machine = Machine(dies=lambda act: "killed by SIGSEGV" if (act.side, act.pair) == ("head", 2) else "")
    result = gate(tmp_path, machine, plan(24, 260))
    assert {row.verdict for row in result.rows} == {"broken"}
    assert "the process of head died: killed by SIGSEGV" in result.rows[0].reason
    assert result.exit_code == 2


@pytest.mark.parametrize("status", ["error", "out_of_memory", "crashed"])
def test_a_row_that_ends_badly_is_broken_and_the_others_go_on(tmp_path: Path, status: str) -> None:
    spoiled = on_head(lambda measured: msgspec.structs.replace(measured, status=status, reason="why"))
    result = gate(tmp_path, Machine(spoil=spoiled), plan(24, 260))
    assert one(result, 24, "parity").verdict == "broken"
    assert one(result, 260, "decode").verdict == "same"
    assert result.exit_code == 2


@pytest.mark.parametrize("field", ["tree", "git_commit"])
def test_another_build_than_the_arm_is_broken(tmp_path: Path, field: str) -> None:
    def base_again(act: Act, answer: ProcessAnswer) -> ProcessAnswer:
        return msgspec.structs.replace(answer, **{field: "base-tree"}) if act.side == "head" else answer

    result = gate(tmp_path, Machine(answer=base_again), plan(24))
    assert "the wrong build was measured" in result.rows[0].reason
    assert result.exit_code == 2


def test_another_gpu_than_asked_for_is_broken(tmp_path: Path) -> None:
    machine = Machine(answer=lambda act, answer: msgspec.structs.replace(answer, gpu=gpu(ELSEWHERE)))
    result = gate(tmp_path, machine, plan(24))
    assert plain_uuid(ELSEWHERE) in result.rows[0].reason
    assert result.exit_code == 2


def test_a_canary_that_moved_takes_all_times_with_it_but_not_parity(tmp_path: Path) -> None:
    def moved(act: Act, answer: ProcessAnswer) -> ProcessAnswer:
        if act.side == "base":
            return answer
        slow = tuple(
            msgspec.structs.replace(canary, samples=samples(canary.samples.median * 1.02))
            for canary in answer.canaries
            if canary.name == "copy"
        )
        return msgspec.structs.replace(answer, canaries=(*slow, *answer.canaries[1:]))

    machine = Machine(spoil=on_head(lambda measured: scaled(measured, 1.05)), answer=moved)
    result = gate(tmp_path, machine, plan(24))
    assert [canary.moved for canary in result.canaries] == [True, False, False]
    assert one(result, 24, "decode").verdict == "cannot_tell"
    assert "canaries moved (copy)" in one(result, 24, "prefill").reason
    assert one(result, 24, "parity").verdict == "same"
    assert result.exit_code == 3
    assert {act.stage for act in machine.acts} == {"pairs"}


def test_a_canary_that_moved_while_confirming_confirms_nothing(tmp_path: Path) -> None:
    def moved(act: Act, answer: ProcessAnswer) -> ProcessAnswer:
        if act.side == "base" or act.stage != "confirm":
            return answer
        slow = [msgspec.structs.replace(canary, samples=samples(102)) for canary in answer.canaries]
        return msgspec.structs.replace(answer, canaries=tuple(slow))

    machine = Machine(spoil=on_head(lambda measured: scaled(measured, 1.05)), answer=moved)
    row = one(gate(tmp_path, machine, plan(24)), 24, "decode")
    assert (row.verdict, row.confirmation) == ("cannot_tell", NOT_CONFIRMED)
    assert "its canaries moved" in row.reason


def test_a_moved_canary_alone_cannot_tell_and_no_row_is_no_pass(tmp_path: Path) -> None:
    rows = gate(tmp_path, Machine(), plan(24, device="host")).rows
    assert exit_code(rows, ()) == 0
    assert exit_code(rows, [CanaryVerdict(name="copy", ratio=1.02, moved=True)]) == 3
    assert exit_code((), ()) == 2


def test_a_canary_that_was_not_measured_counts_as_moved(tmp_path: Path) -> None:
    machine = Machine(answer=lambda act, answer: msgspec.structs.replace(answer, canaries=answer.canaries[1:]))
    result = gate(tmp_path, machine, plan(24))
    assert result.exit_code == 3


def test_throttled_samples_cannot_tell(tmp_path: Path) -> None:
    throttled = on_head(lambda measured: msgspec.structs.replace(measured, decode=samples(2500, discarded=20)))
    result = gate(tmp_path, Machine(spoil=throttled), plan(24))
    row = one(result, 24, "decode")
    assert row.verdict == "cannot_tell"
    assert "head throttled: 29% of its samples discarded (hw_thermal_slowdown)" in row.reason
    assert result.exit_code == 3
    assert any("samples were discarded" in note for note in result.notes)


def test_a_throttled_row_keeps_its_parity(tmp_path: Path) -> None:
    throttled = on_head(lambda measured: msgspec.structs.replace(measured, status="throttled", reason="too hot"))
    result = gate(tmp_path, Machine(spoil=throttled), plan(24))
    assert one(result, 24, "parity").verdict == "same"
    assert (one(result, 24, "decode").verdict, one(result, 24, "decode").reason) == ("cannot_tell", "head: too hot")
    assert result.exit_code == 3


def test_a_clock_that_drifts_between_the_arms_cannot_tell(tmp_path: Path) -> None:
    def cold(measured: Measurement) -> Measurement:
        assert measured.decode is not None
        return msgspec.structs.replace(measured, decode=samples(measured.decode.median * 1.03, mhz=1920))

    result = gate(tmp_path, Machine(spoil=on_head(cold)), plan(24))
    row = one(result, 24, "decode")
    assert row.verdict == "cannot_tell"
    assert row.clock_ratio == pytest.approx(1920 / 1980)
    assert "SM clock of head was -3.0 %" in row.reason
    assert result.exit_code == 3


def test_what_the_machine_cannot_do_is_broken(tmp_path: Path) -> None:
    fast = on_head(lambda measured: msgspec.structs.replace(measured, limit="decode: 140 % of the read ceiling"))
    result = gate(tmp_path, Machine(spoil=fast), plan(24))
    assert one(result, 24, "decode").reason == "head: decode: 140 % of the read ceiling"
    assert result.exit_code == 2


@pytest.mark.parametrize("median", [0.0, -1.0])
def test_a_time_that_is_none_is_broken(tmp_path: Path, median: float) -> None:
    none = on_head(lambda measured: msgspec.structs.replace(measured, decode=samples(median)))
    assert gate(tmp_path, Machine(spoil=none), plan(24)).exit_code == 2


def test_on_the_host_one_pair_gates_parity_and_counts_and_no_time(tmp_path: Path) -> None:
    machine = Machine()
    result = gate(tmp_path, machine, plan(24, device="host"))
    assert len(machine.acts) == 2
    assert {row.metric for row in result.rows} == {"parity", "counts"}
    assert any("not measured on an emulated device" in note for note in result.notes)
    assert result.exit_code == 0
    assert result.canaries == ()
    assert gate(tmp_path / "b", Machine(spoil=on_head(wrong)), plan(24, device="host")).exit_code == 1


def test_noise_that_hides_everything_cannot_tell(tmp_path: Path) -> None:
    def wild(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, 1.2 if (act.pair + (act.side == "head")) % 2 else 1.0)

    result = gate(tmp_path, Machine(spoil=wild), plan(24))
    row = one(result, 24, "decode")
    assert (row.verdict, row.pairs) == ("cannot_tell", 16)
    assert "too noisy" in row.reason
    assert result.exit_code == 3


def test_rows_that_all_move_one_way_with_the_same_engine_cannot_tell(tmp_path: Path) -> None:
    def slower(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, 1.05, "decode", "prefill") if act.side == "head" else measured

    prompts = (24, 260, 300)
    result = gate(tmp_path, Machine(spoil=slower), plan(*prompts), engine_changed=False)
    assert result.exit_code == 3
    assert "the engine is the same in both arms" in one(result, 24, "decode").reason
    assert gate(tmp_path / "b", Machine(spoil=slower), plan(*prompts)).exit_code == 1


def test_of_several_exit_codes_broken_comes_first_and_cannot_tell_behind_a_failure(tmp_path: Path) -> None:
    def both(act: Act, measured: Measurement, prompt: int) -> Measurement | None:
        if act.side == "base":
            return measured
        if prompt == 24:
            return wrong(measured)
        return msgspec.structs.replace(measured, status="throttled") if prompt == 260 else measured

    assert gate(tmp_path / "a", Machine(spoil=both), plan(24, 260)).exit_code == 1
    crash = Machine(spoil=both, dies=lambda act: "gone" if act.pair == 3 else "")
    assert gate(tmp_path / "b", crash, plan(24, 260, 300)).exit_code == 2


def test_progress_says_what_is_left(tmp_path: Path) -> None:
    lines: list[str] = []
    gate(tmp_path, Machine(), plan(24, 260), lines=lines)
    assert lines[0] == "pair 1           base qwen3-tiny Q8_0, 2 rows  1.0 s; at least 7 more, about 7 s"
    assert "more" not in lines[-1]


def test_progress_says_where_the_seconds_of_a_process_went(tmp_path: Path) -> None:
    def told(act: Act, answer: ProcessAnswer) -> ProcessAnswer:
        rows = [msgspec.structs.replace(row, spent={"proof": 0.25, "times": 0.1}) for row in answer.rows]
        return msgspec.structs.replace(answer, rows=tuple(rows), spent={"opening": 0.3})

    lines: list[str] = []
    gate(tmp_path, Machine(answer=told), plan(24, 260), lines=lines)
    assert "2 rows  1.0 s (opening 0.3, proof 0.5, times 0.2); at least 7 more" in lines[0]
