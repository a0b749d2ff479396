"""What a gate makes of times that an A/A run of its machine found to be ungateable."""

from __future__ import annotations

from pathlib import Path

from harness.schema import Measurement
from suites.harness.gate_fakes import Act, Machine, gate, one, plan, scaled


def test_the_noise_class_is_shown_and_an_ungateable_row_is_never_slower(tmp_path: Path) -> None:
    def slower(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, 1.05 if act.side == "head" else 1.0)

    machine = Machine(spoil=slower)
    made = plan(24)
    key = (made.rows()[0].key, "decode")
    result = gate(tmp_path / "a", machine, made, noise={key: "noisy"})
    assert (one(result, 24, "decode").verdict, one(result, 24, "decode").noise_class) == ("slower", "noisy")
    assert one(result, 24, "prefill").noise_class == ""
    machine.acts.clear()
    result = gate(tmp_path / "b", machine, made, noise={key: "ungateable"})
    row = one(result, 24, "decode")
    assert (row.verdict, row.reason) == ("cannot_tell", "slower, and its noise is ungateable on this machine")
    assert result.exit_code == 3
    assert {act.stage for act in machine.acts} == {"pairs"}  # nothing to confirm


def test_a_time_that_is_known_to_be_ungateable_asks_for_no_more_pairs(tmp_path: Path) -> None:
    def wild(act: Act, measured: Measurement, prompt: int) -> Measurement:
        return scaled(measured, (1 / 1.2, 1.2)[act.pair % 2] if act.side == "head" else 1.0, "prefill")

    made = plan(24)
    key = made.rows()[0].key
    assert gate(tmp_path / "a", Machine(spoil=wild), made).pairs_spent == 16
    result = gate(tmp_path / "b", Machine(spoil=wild), made, noise={(key, "prefill"): "ungateable"})
    assert (result.pairs_spent, one(result, 24, "decode").verdict) == (4, "same")
    row = one(result, 24, "prefill")
    assert (row.verdict, row.reason) == ("cannot_tell", "its noise is ungateable on this machine: no more pairs for it")
    both = {(key, metric): "ungateable" for metric in ("decode", "prefill")}
    assert gate(tmp_path / "c", Machine(spoil=wild), made, noise=both).pairs_spent == 4
    assert gate(tmp_path / "d", Machine(spoil=wild), made, noise={(key, "decode"): "ungateable"}).pairs_spent == 16
