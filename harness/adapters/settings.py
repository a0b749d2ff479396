"""The engine's toggles as the rest of the harness sees them: plain names and values."""

from __future__ import annotations

from collections.abc import Mapping

from engine.toggles import TOGGLES, Toggles
from harness.errors import BadCall
from reference import NUMERICS as NUMERICS
from reference.spec.errors import BadInput

TOGGLE_NAMES = tuple(toggle.name for toggle in TOGGLES)


def canonical_toggles(values: Mapping[str, str | int]) -> dict[str, str | int]:
    """All toggles, defaults filled in. Raises BadCall for an unknown name or a bad value."""
    try:
        return Toggles.from_mapping(values).as_dict()
    except BadInput as error:
        raise BadCall(str(error)) from None
