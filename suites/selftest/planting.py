"""Plants a fault in a scratch copy of the packages and runs the tests that should catch it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import engine

ROOT = Path(engine.__file__).parent.parent
PACKAGES = ("reference", "engine", "harness", "suites", "reports")

Outcome = Literal["caught", "crashed", "missed", "broken"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One wrong line: in `file`, `old` (which occurs exactly once) becomes `new`. `checks` are the tests that must see it."""

    name: str
    file: str
    old: str
    new: str
    checks: tuple[str, ...]
    origin: str = ""  # the number of the fault in the catalogue that inspired it

    def plant(self, tree: Path) -> None:
        path = tree / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"fault {self.name!r}: {self.old!r} occurs {text.count(self.old)} times in {self.file}, expected once")
        path.write_text(text.replace(self.old, self.new))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the checks: `caught` needs an assertion on values that failed by name."""

    outcome: Outcome
    by: str  # the test that failed
    message: str


def scratch_copy(folder: Path) -> Path:
    """The five packages and the configuration, copied."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "pyproject.toml").is_file():
        shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def run_checks(tree: Path, checks: tuple[str, ...], *, device: str, timeout: float = 240.0) -> Verdict:
    """Run the tests of `tree` and read their JUnit file."""
    junit = tree / "junit.xml"
    junit.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", *checks, "--device", device, "-n", "0", "-x", "-q",
        "-p", "no:cacheprovider", f"--junitxml={junit}",
    ]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return Verdict(outcome="crashed", by=" ".join(checks), message=f"no end after {timeout:.0f} s")
    if not junit.is_file():
        return Verdict(outcome="broken", by="", message=(done.stdout + done.stderr)[-2000:])
    return read_junit(junit, done.returncode)


def read_junit(junit: Path, returncode: int) -> Verdict:
    """Caught: an AssertionError in a test. Crashed: any other failure. Missed: everything passed."""
    cases = list(ET.parse(junit).iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        failure, error = case.find("failure"), case.find("error")
        if failure is not None:
            message = (failure.get("message") or "").splitlines()[0]
            caught = message.startswith(("AssertionError", "assert ", "Failed: DID NOT"))
            return Verdict(outcome="caught" if caught else "crashed", by=name, message=message)
        if error is not None:
            return Verdict(outcome="crashed", by=name, message=(error.get("message") or "").splitlines()[0])
    if returncode != 0 or not ran:
        return Verdict(outcome="broken", by="", message=f"pytest ended with {returncode}, {len(ran)} tests ran")
    return Verdict(outcome="missed", by="", message=f"{len(ran)} tests passed")
