"""A process that appends rows to a run folder for as long as it is left alive: `python appender.py FOLDER FIRST`.

It prints the number of each row once the row is on disk.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path

import msgspec

from harness.store import RowWriter
from suites.harness.records import row


def main(folder: str, first: str) -> None:
    writer = RowWriter(Path(folder))
    made = row("", device="cuda")
    for number in count(int(first)):
        # Short lines, which a buffer would keep back, and long ones, whose write can be cut in the middle.
        checks = 200 if number % 8 == 7 else 1
        writer.append(msgspec.structs.replace(made, id=str(number), proof=made.proof * checks))
        print(number, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
