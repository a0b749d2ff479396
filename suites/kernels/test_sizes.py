"""Sizes that a kernel cannot count in 32 bits are refused before the launch."""

from __future__ import annotations

import pytest

from engine.device import LaunchError
from engine.ops.checks import MOST_ITEMS, blocks, int32


def test_more_items_than_a_kernel_counts_are_refused() -> None:
    """An item and the grid stride behind it have to stay below 2^31."""
    assert blocks(MOST_ITEMS, 256) == MOST_ITEMS // 256
    with pytest.raises(LaunchError, match="1073741825 work items in one launch, expected at most 1073741824"):
        blocks(MOST_ITEMS + 1, 256)


@pytest.mark.parametrize("value", [-1, 2**31])
def test_a_size_that_is_no_int32_is_refused(value: int) -> None:
    assert int32("add", "n", 2**31 - 1) == 2**31 - 1
    with pytest.raises(LaunchError, match=f"add: n is {value}, expected 0 .. 2147483647"):
        int32("add", "n", value)
