"""Lines that version 1 wrote are read as this version's: recorded ones, and lines made of every kind of record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.schema import SCHEMA, Environment, Peer, Plan, Record, Row, row_key
from harness.store import ROWS, read_rows, read_run
from harness.upgrade import UPGRADES, decode
from suites.harness.records import environment, plan, row

RECORDED = Path(__file__).parent / "recorded" / "version_1"  # two rows of `bench-allrows` as version 1 left them


def test_a_recorded_run_of_version_1_is_read_whole() -> None:
    raw = [msgspec.json.decode(line) for line in (RECORDED / ROWS).read_bytes().splitlines()]
    assert {line["schema"] for line in raw} == {1}
    run = read_run(RECORDED)
    assert (run.problems, run.missing) == ((), ())
    assert {made.schema for made in run.rows} | {run.plan.schema, run.environment.schema} == {SCHEMA}
    by_id = {line["id"]: line for line in raw}
    assert [made.id for made in run.rows] == [planned.id for planned in run.plan.rows]
    for made in run.rows:
        stored = msgspec.to_builtins(made) | {"shape": msgspec.structs.asdict(made.shape)}  # sizes of zero, too
        assert contains(stored, by_id[made.id] | {"schema": SCHEMA})  # nothing that was written is lost or changed
    assert run.environment.gpu_state is None


def test_rows_of_version_1_have_the_keys_of_this_one() -> None:
    run = read_run(RECORDED)
    assert [made.key for made in run.rows] == [planned.key for planned in run.plan.rows]
    assert len({made.key for made in run.rows}) == len(run.rows)


def contains(new: Any, old: Any) -> bool:
    if isinstance(old, dict):
        return all(name in new and contains(new[name], value) for name, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(contains(*pair) for pair in zip(new, old, strict=True))
    return bool(new == old)


@pytest.mark.parametrize("record", [row("a", device="cuda"), plan("a"), environment()], ids=lambda r: type(r).__name__)
def test_every_earlier_version_has_its_upgrade(record: Row | Plan | Environment) -> None:
    assert set(UPGRADES) == set(range(1, SCHEMA))
    for version in UPGRADES:
        assert decode(msgspec.json.encode(msgspec.to_builtins(record) | {"schema": version}), type(record)) == record


@pytest.mark.parametrize("version", [0, SCHEMA + 1, -1])
@pytest.mark.parametrize("kind", [Row, Plan, Environment, Peer])
def test_a_version_that_is_not_known_is_named(kind: type[Record], version: int) -> None:
    with pytest.raises(msgspec.ValidationError, match=rf"schema {version}, expected 1 to {SCHEMA}"):
        decode(msgspec.json.encode({"schema": version}), kind)


def test_an_old_line_that_is_damaged_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    first, second = (RECORDED / ROWS).read_bytes().splitlines()
    (tmp_path / ROWS).write_bytes(first.replace(b'"status":"ok"', b'"status":7') + b"\n" + second + b"\n")
    rows, problems = read_rows(tmp_path / ROWS)
    assert len(rows) == 1
    assert len(problems) == 1
    assert problems[0].startswith("rows.jsonl line 1: skipped")


def test_a_key_is_what_is_measured_and_nothing_else() -> None:
    made = row("a")
    other = msgspec.structs.replace(
        made, id="b", environment="f", numerics=2, seconds=9.0, status="error", metrics=None
    )
    assert other.key == made.key
    reordered = dict(reversed(made.toggles.items()))
    assert row_key(made.model, made.shape, reordered, made.device) == made.key
    changes: list[dict[str, Any]] = [
        {"device": "cuda"},
        {"toggles": {**made.toggles, "graph": "off"}},
        {"shape": msgspec.structs.replace(made.shape, depth=1)},
        {"model": msgspec.structs.replace(made.model, sha256="cd" * 32)},
        {"model": msgspec.structs.replace(made.model, quant="F16")},
    ]
    keys = {msgspec.structs.replace(made, **change).key for change in changes}
    assert len(keys | {made.key}) == len(changes) + 1


def test_a_size_that_is_not_asked_for_changes_no_key_and_no_job() -> None:
    """Keys are kept in files of noise and of what was accepted; jobs go to arms whose code knows no such size."""
    made = row("a")
    assert made.key == "85cf0b8f09b6f56c"
    assert b"verify" not in msgspec.json.encode(made.shape)
    four = msgspec.structs.replace(made, shape=msgspec.structs.replace(made.shape, verify=4))
    assert four.key != made.key
    assert msgspec.json.decode(msgspec.json.encode(four), type=Row) == four
