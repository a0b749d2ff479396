"""The gate on processes that are wrong, missing or not the build that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.gate.processes import plain_uuid
from harness.schema import Measurement, ProcessAnswer
from suites.harness.gate_fakes import (
    ELSEWHERE,
    Act,
    Machine,
    gate,
    gpu,
    on_head,
    one,
    plan,
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
