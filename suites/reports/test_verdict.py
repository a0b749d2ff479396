"""The verdict of a run: exit codes, their order of precedence, and failing closed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from harness.schema import Check, Metrics, PlannedRow, Row
from harness.store import read_run
from reports.verdict import Verdict, decide, outcome, why
from suites.reports.stored_runs import BOTH, CEILINGS, bad, differing, ok, passed, planned, write_run

HOST = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",))
CUDA = planned(quants=("Q8_0",), contexts=(64,), kvs=("f16",), device="cuda")


def verdict(folder: Path, rows: list[Row], plan: tuple[PlannedRow, ...] | None = None, tail: bytes = b"") -> Verdict:
    return decide(read_run(write_run(folder / "run", rows, plan=plan, tail=tail)))


def with_metrics(plan: PlannedRow, **changes: object) -> Row:
    metrics = ok(plan).metrics
    assert metrics is not None
    changed: Metrics = msgspec.structs.replace(metrics, **changes)
    return ok(plan, metrics=changed)


ODD_ROWS: dict[str, tuple[Callable[[], Row], int, str]] = {
    "a failed check": (lambda: ok(HOST[1], proof=(differing("graph = direct", "before"),)), 1, "different"),
    "a parity status": (lambda: ok(HOST[1], status="parity_failed", reason="logits differ"), 1, "different"),
    "a pass over differing bits": (
        lambda: ok(HOST[1], proof=(Check(name="a = b", when="before", status="passed", values=9, differing=1),)),
        1,
        "different",
    ),
    "a pass over nothing": (
        lambda: ok(HOST[1], proof=(*ok(HOST[1]).proof, Check(name="a = b", when="after", status="passed"))),
        1,
        "different",
    ),
    "no proof": (lambda: ok(HOST[1], proof=()), 3, "unproven"),
    "a proof before only": (lambda: ok(HOST[1], proof=(passed("graph = direct", "before"),)), 3, "unproven"),
    "a whole proof before only": (
        lambda: ok(HOST[1], proof=tuple(check for check in ok(HOST[1]).proof if check.when == "before")),
        3,
        "unproven",
    ),
    "one comparison of three": (
        lambda: ok(HOST[1], proof=(passed("graph = direct", "before"), passed("graph = direct", "after"))),
        3,
        "unproven",
    ),
    "a depth that nothing was compared behind": (
        lambda: ok(HOST[1], shape=msgspec.structs.replace(HOST[1].shape, depth=8)),
        3,
        "unproven",
    ),
    "rows at once that were not compared": (
        lambda: ok(HOST[1], shape=msgspec.structs.replace(HOST[1].shape, verify=2)),
        3,
        "unproven",
    ),
    "no word from the oracle": (
        lambda: ok(HOST[1], proof=tuple(check for check in ok(HOST[1]).proof if check.name != "engine = oracle")),
        3,
        "unproven",
    ),
    "no metrics": (lambda: ok(HOST[1], metrics=None), 3, "unproven"),
    "a crash": (lambda: bad(HOST[1], "crashed", "signal 11"), 2, "crashed"),
    "a hang": (lambda: bad(HOST[1], "hung", "no answer"), 2, "hung"),
    "throttled": (lambda: bad(CUDA[1], "throttled", "decode: 9 of 50 samples"), 3, "throttled"),
    "no memory": (lambda: bad(HOST[1], "out_of_memory", "9 GB needed"), 2, "out of memory"),
    "an error": (lambda: bad(HOST[1], "error", "no such file"), 2, "error"),
    "not applicable": (lambda: bad(HOST[1], "not_applicable", "no PDL here"), 0, "not applicable"),
    "above the read ceiling": (lambda: with_metrics(CUDA[1], percent_of_read_ceiling=105.1), 2, "implausible"),
}


@pytest.mark.parametrize("name", ODD_ROWS)
def test_one_odd_row(name: str, tmp_path: Path) -> None:
    make, code, word = ODD_ROWS[name]
    odd = make()
    result = verdict(tmp_path, [ok(HOST[0]), odd])
    assert result.exit_code == code
    assert f"1 row {word}" in result.headline
    assert any(word in reason and odd.key in reason for reason in result.reasons)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (("engine = oracle", "before"), "not shown: engine = oracle, before the timed loop"),
        (("verified = decoded at depth", "after"), "not shown: verified = decoded at depth, after the timed loop"),
        (("verified = decoded", ""), "not shown: verified = decoded, before and after the timed loop"),
        (("", "after"), "nothing was compared after the timed loop"),
    ],
)
def test_what_an_unproven_row_lacks_is_named(lost: tuple[str, str], said: str) -> None:
    shape = msgspec.structs.replace(HOST[1].shape, depth=8, verify=2)
    more = (*(passed("verified = decoded", when) for when in BOTH), passed("verified = decoded at depth", "after"))
    whole = ok(HOST[1], shape=shape, proof=(*ok(HOST[1]).proof, *more))
    assert outcome(whole, ()) == "proven"
    name, when = lost
    kept = tuple(one for one in whole.proof if name not in ("", one.name) or when not in ("", one.when))
    assert why(msgspec.structs.replace(whole, proof=kept), ()) == said


def test_all_proven(tmp_path: Path) -> None:
    result = verdict(tmp_path, [ok(plan) for plan in HOST])
    assert (result.exit_code, result.headline, result.reasons) == (0, "PASS: 4 rows proven", ())


def test_missing_row_is_a_failure(tmp_path: Path) -> None:
    result = verdict(tmp_path, [ok(plan) for plan in HOST[:3]], plan=HOST)
    assert result.exit_code == 2
    assert "1 row missing" in result.headline
    assert any(HOST[3].key in reason for reason in result.reasons)


def test_torn_last_line_is_a_missing_row(tmp_path: Path) -> None:
    tail = msgspec.json.encode(ok(HOST[3]))[:200]
    result = verdict(tmp_path, [ok(plan) for plan in HOST[:3]], plan=HOST, tail=tail)
    assert result.exit_code == 2
    assert any("torn" in reason for reason in result.reasons)


@pytest.mark.parametrize("rows", [[], [bad(plan, "not_applicable", "no GPU") for plan in HOST]], ids=["empty", "idle"])
def test_nothing_shown_cannot_be_a_pass(rows: list[Row], tmp_path: Path) -> None:
    assert verdict(tmp_path, rows).exit_code == 3


def test_precedence_of_exit_codes(tmp_path: Path) -> None:
    wrong = ok(HOST[1], proof=(differing("graph = direct", "before"),))
    unproven = ok(HOST[2], proof=())
    assert verdict(tmp_path / "1", [ok(HOST[0]), wrong, unproven]).exit_code == 1
    broken = verdict(tmp_path / "2", [ok(HOST[0]), wrong, unproven, bad(HOST[3], "crashed", "signal 6")])
    assert broken.exit_code == 2
    assert "1 row different" in broken.headline


def test_speed_above_a_compute_ceiling(tmp_path: Path) -> None:
    fast = ok(CUDA[0]).metrics
    assert fast is not None
    assert fast.prefill_tps is not None
    limit = CEILINGS[1].median * 1e12 / fast.prefill_operations_per_token
    for factor, code in ((1.04, 0), (1.06, 2)):
        spread = msgspec.structs.replace(fast.prefill_tps, median=limit * factor)
        row = with_metrics(CUDA[0], prefill_tps=spread, prefill_bytes_per_token=1.0)
        assert verdict(tmp_path / str(code), [row]).exit_code == code
