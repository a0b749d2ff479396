"""A pytest plugin that writes one JSON line for each test that ended. `zeroulp parity` makes its table from them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

OPTION = "--parity-lines"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(OPTION, type=Path, help="file to append one JSON line per test to")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption(OPTION)
    if path is not None and not hasattr(config, "workerinput"):  # with several processes only the controller writes
        config.pluginmanager.register(_Writer(path))


class _Writer:
    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return  # set-up and tear-down count only when they go wrong
        self._write(report.nodeid, _state(report), report.duration, _why(report))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._write(report.nodeid, "error", 0.0, _why(report))

    def _write(self, test: str, state: str, seconds: float, why: str) -> None:
        line = {"test": test, "state": state, "seconds": seconds, "why": why}
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def _state(report: pytest.TestReport) -> str:
    if hasattr(report, "not_applicable"):
        return "not applicable"
    if report.skipped:
        return "skipped"
    if report.passed:
        return "passed"
    return "failed" if report.when == "call" else "error"


def _why(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason of a skip, or the line of a failure that says what differed."""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2]).removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(crash.message) if crash is not None else str(report.longrepr or "")
    return text.splitlines()[0] if text else ""
