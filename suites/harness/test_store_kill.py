"""A writer that is killed at any moment loses at most the row in flight; and a file never has two writers."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import BadCall
from harness.store import ROWS, RowWriter, read_rows
from suites.harness import appender
from suites.harness.records import row

KILLS = 12


def kill_a_writer(folder: Path, first: int, seconds: float) -> int:
    """Let a writer append from row `first` on, kill it after `seconds` of writing; the last row it said was on disk."""
    command = [sys.executable, str(appender.__file__), str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        said += process.stdout.read()
    whole = said[: said.rfind(b"\n") + 1].split()
    return int(whole[-1])


def lost_and_torn(folder: Path, kills: int, seed: int) -> tuple[int, int]:
    """Rows that were said to be on disk and are not, and torn lines, over so many kills of writers of one file."""
    chance = random.Random(seed)
    promised: set[str] = set()
    first = 0
    for _ in range(kills):
        last = kill_a_writer(folder, first, chance.uniform(0.0, 0.1))
        promised |= {str(number) for number in range(first, last + 1)}
        first = last + 2  # the row in flight may have been written
    rows, problems = read_rows(folder / ROWS)
    found = [made.id for made in rows]
    assert len(found) == len(set(found))
    assert len(found) - len(promised) + len(problems) <= kills  # of each writer one more row, whole or torn, at most
    return len(promised - set(found)), len(problems)


def test_kill_9_loses_at_most_the_row_in_flight(tmp_path: Path) -> None:
    lost, torn = lost_and_torn(tmp_path, KILLS, seed=1)
    assert lost == 0
    assert torn <= KILLS


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_line_cut_anywhere_is_told_and_costs_no_other(tmp_path: Path, share: float) -> None:
    """What a kill in the middle of a write leaves, made by hand: the disk seldom lets one be caught."""
    writer = RowWriter(tmp_path)
    writer.append(row("a"))
    writer.append(row("b"))
    writer.close()
    path = tmp_path / ROWS
    data = path.read_bytes()
    start = data.index(b"\n") + 1
    path.write_bytes(data[: start + int(share * (len(data) - start - 1))])
    rows, problems = read_rows(path)
    assert ([made.id for made in rows], problems) == (["a"], ["rows.jsonl line 2: torn, skipped"])
    writer = RowWriter(tmp_path)
    writer.append(row("c"))
    writer.close()
    rows, problems = read_rows(path)
    assert [made.id for made in rows] == ["a", "c"]
    assert len(problems) == 1


def test_a_second_writer_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    first = RowWriter(tmp_path)
    with pytest.raises(BadCall, match="another process is writing to it"):
        RowWriter(tmp_path)
    first.append(row("a"))
    first.close()
    second = RowWriter(tmp_path)
    second.append(row("b"))
    second.close()
    assert [made.id for made in read_rows(tmp_path / ROWS)[0]] == ["a", "b"]


def test_a_writer_of_another_process_is_refused_too_and_its_death_frees_the_file(tmp_path: Path) -> None:
    command = [sys.executable, str(appender.__file__), str(tmp_path), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(BadCall, match="another process is writing to it"):
            RowWriter(tmp_path)
        process.kill()
    RowWriter(tmp_path).close()
