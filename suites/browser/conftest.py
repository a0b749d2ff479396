"""A real browser without a window, for the pages that the reports write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from suites.browser.shown import SCHEMES, WIDTHS, Shown
from suites.status import not_applicable

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")  # as Debian, Ubuntu and the vendor call it

Show = Callable[..., Shown]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests; where there is none, or nothing to drive it with, they are not applicable."""
    program = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if program is None:
        not_applicable(f"no browser here ({', '.join(PROGRAMS)}); on Debian: apt-get install chromium")
    if find_spec("playwright") is None:
        not_applicable("playwright is not installed; with uv: --group browser")
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=sandbox)
        yield started
        started.close()


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Opens an HTML file at a width and in a colour scheme; what it shows stays open until the test ends."""
    shown: list[Shown] = []

    def open_(path: Path, *, width: int = WIDTHS[0], scheme: str = SCHEMES[0]) -> Shown:
        shown.append(Shown.open(browser, path, width=width, scheme=scheme))
        return shown[-1]

    yield open_
    for page in shown:
        page.close()
