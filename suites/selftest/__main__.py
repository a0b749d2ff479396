"""`python -m suites.selftest`: plants every fault in turn and tells which check caught it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.devices import DEVICES
from suites.selftest.faults import FAULTS
from suites.selftest.planting import Fault, Verdict, all_checks, faults_on, run_checks, scratch_copy, try_fault

PROCESSES = 2
Row = tuple[Fault, Verdict, float]  # the last: seconds


def markdown(rows: Sequence[Row]) -> str:
    """A table with a line for each fault."""
    lines = ["| fault | file | number | outcome | by |", "|---|---|---|---|---|"]
    for fault, verdict, _ in rows:
        by = verdict.by.replace("|", "\\|")
        lines.append(f"| {fault.name} | {fault.file} | {fault.origin} | {verdict.outcome} | {by} |")
    return "\n".join(lines)


def as_json(rows: Sequence[Row]) -> str:
    """The same for programs, with the message of each assertion."""
    return json.dumps(
        [
            {
                "fault": fault.name,
                "file": fault.file,
                "number": fault.origin,
                "outcome": verdict.outcome,
                "by": verdict.by,
                "message": verdict.message,
                "seconds": round(seconds, 2),
            }
            for fault, verdict, seconds in rows
        ],
        indent=1,
    )


def plain(rows: Sequence[Row]) -> str:
    """Columns for a terminal."""
    names = max(len(fault.name) for fault, _, _ in rows)
    files = max(len(fault.file) for fault, _, _ in rows)
    return "\n".join(f"{v.outcome:8} {f.name:{names}}  {f.file:{files}}  {v.by}" for f, v, _ in rows)


def plant_all(faults: Sequence[Fault], *, device: str) -> list[Row]:
    """Every fault in a tree and a process of its own, PROCESSES at a time; a line on stderr as each one ends."""

    def one(fault: Fault) -> Row:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            verdict = try_fault(fault, Path(folder), device=device)
        seconds = time.monotonic() - started
        print(f"{verdict.outcome:8} {seconds:5.1f} s  {fault.name}", file=sys.stderr)
        return fault, verdict, seconds

    with ThreadPoolExecutor(PROCESSES) as pool:
        return list(pool.map(one, faults))


def main() -> int:
    """0 if every fault was caught and the checks pass unplanted, else 1."""
    parser = argparse.ArgumentParser(prog="python -m suites.selftest", description=__doc__)
    parser.add_argument("--device", choices=DEVICES, default="host")
    parser.add_argument("--only", default="", help="faults with this text in their name")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true")
    form.add_argument("--json", action="store_true")
    options = parser.parse_args()
    faults = [fault for fault in faults_on(FAULTS, options.device) if options.only in fault.name]
    if not faults:
        parser.error(f"no fault has {options.only!r} in its name")
    with tempfile.TemporaryDirectory() as folder:
        clean = run_checks(scratch_copy(Path(folder)), all_checks(faults), device=options.device, timeout=600)
    good = clean.outcome == "missed"
    print(f"unplanted: {clean.message if good else f'{clean.outcome} {clean.by} {clean.message}'}", file=sys.stderr)
    rows = plant_all(faults, device=options.device)
    print(markdown(rows) if options.markdown else as_json(rows) if options.json else plain(rows))
    caught = sum(verdict.outcome == "caught" for _, verdict, _ in rows)
    print(f"{caught} of {len(rows)} caught", file=sys.stderr)
    return 0 if good and caught == len(rows) else 1


if __name__ == "__main__":
    sys.exit(main())
