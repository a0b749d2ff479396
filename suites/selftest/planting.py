"""Plants a fault in a scratch copy of the packages and runs the tests that should catch it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import engine
from harness.code_hash import PACKAGES

ROOT = Path(engine.__file__).parent.parent

Outcome = Literal["caught", "crashed", "missed", "broken"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One wrong line: in `file`, `old` (which occurs exactly once) becomes `new`.

    It compiles, runs to a normal end and reads nothing outside its buffers: only values can give it away. Or it is one
    of the instrument: then what it measures, compares or tells is wrong.
    """

    name: str
    file: str
    old: str
    new: str
    checks: tuple[str, ...]  # the tests that must see it; {device} stands for the name of the device
    origin: str = ""  # its number in the catalogue of known engine faults
    host_only: bool = False  # on a GPU the line does nothing, or shows by luck only
    cuda_only: bool = False  # without a GPU there is nothing to see it by
    timeout: float = 240.0  # seconds for its checks

    def plant(self, tree: Path) -> None:
        """Write the wrong line. Raises ValueError if `old` does not occur exactly once."""
        self._replace(tree, self.old, self.new)

    def planted(self, tree: Path) -> bool:
        return self.new in (tree / self.file).read_text()

    def remove(self, tree: Path) -> None:
        """Put back the line that was there. Raises ValueError if `new` does not occur exactly once."""
        self._replace(tree, self.new, self.old)

    def _replace(self, tree: Path, there: str, instead: str) -> None:
        path = tree / self.file
        text = path.read_text()
        times = text.count(there)
        if times != 1:
            raise ValueError(f"fault {self.name!r}: {there!r} occurs {times} times in {self.file}, expected once")
        path.write_text(text.replace(there, instead))


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of the checks: `caught` needs an assertion on values that failed by name."""

    outcome: Outcome
    by: str  # the test that failed
    message: str


def faults_on(faults: Iterable[Fault], device: str) -> tuple[Fault, ...]:
    """Those that can be seen on a device."""
    return tuple(fault for fault in faults if not (fault.cuda_only if device == "host" else fault.host_only))


def all_checks(faults: Iterable[Fault]) -> tuple[str, ...]:
    """The checks of all faults, each once, file by file."""
    return tuple(sorted({check for fault in faults for check in fault.checks}))


def scratch_copy(folder: Path) -> Path:
    """The five packages and the configuration, copied."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    if (ROOT / "pyproject.toml").is_file():
        shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def try_fault(fault: Fault, folder: Path, *, device: str, environment: Mapping[str, str] | None = None) -> Verdict:
    """Plant it in a copy under `folder` and run its checks."""
    tree = scratch_copy(folder)
    fault.plant(tree)
    return run_checks(tree, fault.checks, device=device, timeout=fault.timeout, environment=environment)


def run_checks(
    tree: Path,
    checks: tuple[str, ...],
    *,
    device: str,
    timeout: float = 240.0,
    environment: Mapping[str, str] | None = None,
) -> Verdict:
    """Run the tests of `tree` and read their JUnit file. Nothing planted makes a good run `missed`."""
    junit = tree / "junit.xml"
    junit.unlink(missing_ok=True)
    command = [
        sys.executable, "-m", "pytest", *(check.format(device=device) for check in checks), "--device", device,
        "-n", "0", "-x", "-q", "-p", "no:cacheprovider", f"--junitxml={junit}",
    ]  # fmt: skip
    given = environment if environment is not None else os.environ
    path = os.pathsep.join(filter(None, (str(tree), given.get("PYTHONPATH", ""))))
    # A session of its own: Ctrl-C is ours alone, and a timeout ends all that it started. PYTHONPATH: what the
    # checks start elsewhere has the fault, too.
    process = subprocess.Popen(
        command,
        cwd=tree,
        env={**given, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):  # it ended by itself meanwhile
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Verdict(outcome="crashed", by=" ".join(checks), message=f"no end after {timeout:.0f} s")
    if not junit.is_file():
        return Verdict(outcome="broken", by="", message=said[-2000:])
    return read_junit(junit, process.returncode)


def read_junit(junit: Path, returncode: int) -> Verdict:
    """Caught: an AssertionError in a test. Crashed: any other failure. Missed: everything passed.

    A check that was skipped or that does not exist has shown nothing: broken.
    """
    cases = list(ET.parse(junit).iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    for case in cases:
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        failure, error = case.find("failure"), case.find("error")
        if failure is not None:
            message = _first_line(failure)
            caught = message.startswith(("AssertionError", "assert ", "Failed: DID NOT"))
            return Verdict(outcome="caught" if caught else "crashed", by=name, message=message)
        if error is not None:
            return Verdict(outcome="crashed", by=name, message=_first_line(error))
    if returncode != 0 or not ran or len(ran) < len(cases):
        message = f"pytest ended with {returncode}, {len(ran)} of {len(cases)} tests ran"
        return Verdict(outcome="broken", by="", message=message)
    return Verdict(outcome="missed", by="", message=f"{len(ran)} tests passed")


def _first_line(problem: ET.Element) -> str:
    lines = [line.strip() for line in (problem.get("message") or "").splitlines() if line.strip()]
    return " ".join(lines[:2])[:200] if lines else ""
