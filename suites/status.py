"""A third way for a test to end besides passing and failing: what it claims does not exist on this device."""

from __future__ import annotations

from typing import NoReturn

from _pytest.outcomes import Skipped


class NotApplicable(Skipped):
    """Raised by not_applicable; suites/conftest.py counts it apart from skips and passes."""


def not_applicable(reason: str) -> NoReturn:
    """End the test with the status "not applicable": nothing was left out, and nothing was shown."""
    raise NotApplicable(reason)
