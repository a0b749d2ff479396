"""Numbers in sentences."""

from __future__ import annotations


def plural(number: int, one: str, many: str = "") -> str:
    """1 row, 2 rows, 1,000 rows. `many` where an s does not do: plural(n, "row was", "rows were")."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
