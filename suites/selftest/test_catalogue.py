"""The catalogue can be planted as it stands: every line is there once, every check exists, every kernel has a fault."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter

from suites.selftest.faults import AREAS, FAULTS, INSTRUMENT
from suites.selftest.planting import ROOT, all_checks
from suites.status import not_applicable

NO_OP = {"engine/kernels/ceilings.cu", "engine/ops/__init__.py", "engine/ops/checks.py"}
KNOWN = range(1, 43)  # numbers of the catalogue of known engine faults


def test_names_are_unique_and_there_are_many() -> None:
    assert [name for name, times in Counter(fault.name for fault in FAULTS).items() if times > 1] == []
    assert len(FAULTS) >= 60
    assert sum(len(AREAS[area]) for area in INSTRUMENT) >= 20


def test_every_line_is_there_once_and_changes() -> None:
    found = {fault.name: (ROOT / fault.file).read_text().count(fault.old) for fault in FAULTS}
    assert {name: times for name, times in found.items() if times != 1} == {}
    assert [fault.name for fault in FAULTS if fault.new == fault.old] == []


def test_every_check_exists() -> None:
    """Named on the command line, so that one that does not exist is an error of pytest's."""
    checks = [check.format(device="host") for check in all_checks(FAULTS)]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--device", "host", *checks], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("ERROR")] == []
    assert done.returncode == 0, done.stdout[-1000:]
    assert [fault.name for fault in FAULTS if not fault.checks] == []


def test_every_kernel_and_launcher_has_a_fault() -> None:
    sources = [*(ROOT / "engine/kernels").glob("*.cu"), *(ROOT / "engine/ops").glob("*.py")]
    names = {str(path.relative_to(ROOT)) for path in sources}
    assert names - NO_OP - {fault.file for fault in FAULTS} == set()


def test_origins_are_numbers_of_the_known_faults() -> None:
    assert [fault.name for fault in FAULTS if fault.origin and int(fault.origin) not in KNOWN] == []


def test_the_documentation_counts_right() -> None:
    """Areas with their numbers of faults; the known faults are planted or said not to apply, never both."""
    documentation = ROOT / "docs" / "selftest.md"
    if not documentation.is_file():
        not_applicable("the documentation is a part of the checkout, not of the package")
    text = documentation.read_text()
    counts = {area: int(count) for area, count in re.findall(r"^\| ([a-z]+) \| .* \| (\d+) \|$", text, re.MULTILINE)}
    assert counts == {area: len(faults) for area, faults in AREAS.items()}
    assert f"{sum(len(AREAS[area]) for area in INSTRUMENT)} of {len(FAULTS)}." in text
    rows = re.findall(r"^\| (\d+(?:, \d+)*) \|", text, re.MULTILINE)
    absent = [int(number) for row in rows for number in row.split(", ")]
    planted = {int(fault.origin) for fault in FAULTS if fault.origin}
    assert sorted([*absent, *planted]) == list(KNOWN)


def test_a_name_can_be_typed() -> None:
    assert [fault.name for fault in FAULTS if not re.fullmatch(r"[a-z0-9.-]+", fault.name)] == []
