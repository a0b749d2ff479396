"""A planned row without figures: what every row begins as, and what it stays if it could not be made."""

from __future__ import annotations

from harness.adapters.settings import NUMERICS
from harness.schema import PlannedRow, Row, Status
from harness.store import utc_now


def empty_row(row: PlannedRow, environment: str, status: Status, reason: str = "", seconds: float = 0.0) -> Row:
    """Of the environment with this id, started now."""
    return Row(
        id=row.id,
        model=row.model,
        shape=row.shape,
        toggles=row.toggles,
        device=row.device,
        environment=environment,
        numerics=NUMERICS,
        started=utc_now(),
        seconds=seconds,
        status=status,
        reason=reason,
    )
