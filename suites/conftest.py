"""Devices for the suites, and the status "not applicable"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from engine.device import Device
from engine.devices import DEVICES, why_unavailable
from engine.devices import open_device as _open_device
from engine.devices.host import HostDevice
from suites.status import NotApplicable, not_applicable

if TYPE_CHECKING:
    from suites.models import Models

__all__ = ["not_applicable"]

TEST_KERNELS = Path(__file__).parent / "devices" / "kernels"

# Schedules and modes of the host device under which a kernel must give the same bits.
LARGE = {"shared_limit": 227 * 1024}  # as the GPUs have that most is measured on
HOST_VARIANTS: dict[str, dict[str, Any]] = {
    "in-order": {},
    "reverse": {"order": "reverse", **LARGE},
    "random-1": {"order": "random", "seed": 1},
    "random-2": {"order": "random", "seed": 2, **LARGE},
    "two-workers": {"workers": 2},
    "check": {"mode": "check"},
    "check-random": {"mode": "check", "order": "random", "seed": 3, "preempt": 50, **LARGE},
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=(*DEVICES, "all"),
        default="all",
        help="device to test on; all (the default) skips cuda where there is no GPU, cuda fails there",
    )
    parser.addoption(
        "--portable", action="store_true", help="on cuda, the kernels that a GPU of sm_80 runs, without PDL"
    )
    parser.addoption("--long", action="store_true", help="with the tests marked long, which take minutes")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Benchmarks run one after the other: tests beside them would be measured with them."""
    if config.getoption("benchmark_enable", default=False):
        config.option.numprocesses = 0


def pytest_configure(config: pytest.Config) -> None:
    wanted = config.getoption("--device")
    reason = why_unavailable(wanted) if wanted != "all" else None
    if reason is not None:
        raise pytest.UsageError(f"--device {wanted}: {reason}")
    config.addinivalue_line("markers", "long: takes minutes; deselected without --long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselected is what pytest counts a test as that was not asked for: neither a pass nor a skip."""
    long = [] if config.getoption("--long") else [item for item in items if item.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "device" in metafunc.fixturenames:
        wanted = metafunc.config.getoption("--device")
        names = DEVICES if wanted == "all" else (wanted,)
        metafunc.parametrize("device", names, indirect=True, scope="session")
    if "host_variant" in metafunc.fixturenames:
        metafunc.parametrize("host_variant", HOST_VARIANTS, indirect=True, scope="session")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """Every device in turn; see --device."""
    reason = why_unavailable(request.param)
    if reason is not None:
        pytest.skip(reason)
    options: dict[str, Any] = {}
    if request.param == "cuda" and request.config.getoption("--portable"):
        options["portable"] = True
    opened = _open_device(request.param, kernel_dirs=(TEST_KERNELS,), **options)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def host_variant(request: pytest.FixtureRequest) -> Iterator[HostDevice]:
    """The host device under every schedule and mode of HOST_VARIANTS in turn."""
    if request.config.getoption("--device") == "cuda":
        pytest.skip("schedules of the host device, and --device is cuda")
    opened = HostDevice(kernel_dirs=(TEST_KERNELS,), **HOST_VARIANTS[request.param])
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Tiny models, made when they are first asked for."""
    from suites.models import Models

    return Models(Path(tmp_path_factory.mktemp("models")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.excinfo is not None and isinstance(call.excinfo.value, NotApplicable):
        reason = str(call.excinfo.value)
        vars(report)["not_applicable"] = reason  # plain data: it travels between processes
        report.longrepr = (str(item.path), item.location[1] or 0, f"not applicable: {reason}")  # for JUnit files
    return report


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    if hasattr(report, "not_applicable"):
        return "not applicable", "n", "NOT APPLICABLE"
    return None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Why tests did not run or do not apply, a line for each reason."""
    stats = terminalreporter.stats
    _reasons(terminalreporter, "not applicable", [report.not_applicable for report in stats.get("not applicable", [])])
    _reasons(terminalreporter, "skipped", [_skip_reason(report) for report in stats.get("skipped", [])])


def _reasons(terminalreporter: Any, title: str, reasons: list[str]) -> None:
    if reasons:
        terminalreporter.section(title)
        for reason, count in sorted(Counter(reasons).items()):
            terminalreporter.write_line(f"{count} x {reason}")


def _skip_reason(report: pytest.TestReport) -> str:
    where = report.longrepr
    return str(where[2]).removeprefix("Skipped: ") if isinstance(where, tuple) else str(where)
