"""The engine's toggles as the rest of the harness sees them, and the errors and numbers of `reference` it needs."""

from __future__ import annotations

from collections.abc import Mapping

from engine.toggles import TOGGLES, Toggles
from harness.errors import BadCall
from reference import NUMERICS
from reference.spec.errors import BadInput, OutOfMemory

__all__ = ["NUMERICS", "TOGGLE_NAMES", "BadInput", "OutOfMemory", "canonical_toggles"]

TOGGLE_NAMES = tuple(toggle.name for toggle in TOGGLES if not toggle.diagnostic)


def canonical_toggles(values: Mapping[str, str | int]) -> dict[str, str | int]:
    """All toggles that a row has, defaults filled in. Raises BadCall for an unknown name or a bad value."""
    try:
        chosen = Toggles.from_mapping(values).as_dict()
    except BadInput as error:
        raise BadCall(str(error)) from None
    for name in values:
        if name not in TOGGLE_NAMES:
            raise BadCall(f"toggle {name}: looks at a run and is no part of a row that is measured")
    return {name: chosen[name] for name in TOGGLE_NAMES}
