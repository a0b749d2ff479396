"""A plain line for each row, with what is left where that is worth a word."""

from __future__ import annotations

import io

import msgspec
import pytest

from harness.progress import SweepProgress, remaining
from suites.harness.records import planned, row


@pytest.mark.parametrize(
    ("made", "left", "seconds", "text"),
    [(1, 47, 2.0, ", about 2 min left"), (10, 3, 2000.0, ", about 10 min left"), (1, 5, 2.0, ""), (4, 0, 4000.0, "")],
)
def test_what_is_left(made: int, left: int, seconds: float, text: str) -> None:
    assert remaining(made, left, seconds) == text


def test_a_row_that_did_not_end_well_is_named_by_its_key() -> None:
    file = io.StringIO()
    crashed = msgspec.structs.replace(row("a", status="crashed"), reason="signal 11")
    proven = msgspec.structs.replace(row("b"), reason="")
    failed = msgspec.structs.replace(row("c", status="parity_failed"), reason=f"[check {crashed.key}:graph:before]")
    with SweepProgress(file) as progress:
        progress.begin(total=3, done=0)
        for one in (crashed, proven, failed):
            progress.finished(one)
    first, second, third = file.getvalue().splitlines()
    assert first.endswith(f"1.5 s, row {crashed.key}: signal 11")
    assert second.endswith("1.5 s")
    assert third.endswith(f"1.5 s: [check {crashed.key}:graph:before]")


def test_rows_of_an_earlier_start_do_not_count_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now[0])
    file = io.StringIO()
    with SweepProgress(file) as progress:
        progress.begin(total=10, done=7)
        for key in ("a", "b", "c"):
            progress.started(planned(key))
            now[0] += 120.0
            progress.finished(row(key))
    first, second, third = file.getvalue().splitlines()
    assert first.endswith("1.5 s, about 4 min left")
    assert second.endswith("1.5 s, about 2 min left")
    assert third.startswith("[10/10] ok")
    assert third.endswith("1.5 s")
