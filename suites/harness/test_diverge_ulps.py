"""Values within ulps are equal only if all taps of both sides were compared, or if the common ones are meant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest

from harness.adapters.diverge.script import Rows, Script, Seen, Side
from harness.cli.diverge_text import lines
from harness.divergence import diverge
from harness.errors import BadCall
from harness.tape import Tape

KEYS, POSITIONS = ("embedding", "0.attn_norm", "0.q", "0.k", "logits"), 3
SCRIPT = Script(model=cast(Any, None), name="m", sha256="0", ids=np.arange(POSITIONS), decoded=1)


@dataclass(frozen=True, kw_only=True)
class Values:
    """A side of which the values are known."""

    run: str
    values: Rows

    def tape(self) -> Tape:
        raise AssertionError("values are compared, not hashes")

    def rows(self) -> Rows:
        return self.values

    def look(self, key: str, position: int) -> Seen | None:
        return None


WHOLE = Values(
    run="whole",
    values={(key, at): np.full(4, at + 1, np.float32) for at in range(POSITIONS) for key in KEYS},
)


def part(wanted: Callable[[str, int], bool]) -> Values:
    return Values(run="part", values={at: row for at, row in WHOLE.values.items() if wanted(*at)})


LOGITS = part(lambda key, position: key == "logits")
LACKING = "part lacks 4 of 5 taps (embedding, 0.attn_norm, 0.q, ...)"


@pytest.mark.parametrize(("a", "b"), [(LOGITS, WHOLE), (WHOLE, LOGITS)])
def test_equal_taps_are_not_enough_where_a_side_lacks_some(a: Side, b: Side) -> None:
    result = diverge(a, b, SCRIPT, ulps=1).divergence
    assert (result.where, result.taps, result.lacking, result.exit_code) == (None, 1, LACKING, 3)
    amount = "1 tap at 3 positions, 3 rows, 12 values"
    sides = f"{a.run} and {b.run} within 1 ulp"
    assert lines(result, stored=False) == [f"CANNOT TELL: {sides}: {amount}; {LACKING}; --shared if that is meant"]
    meant = diverge(a, b, SCRIPT, ulps=1, shared=True).divergence
    assert lines(meant, stored=False) == [f"EQUAL: {sides}: {amount}; {LACKING}"]
    assert meant.exit_code == 0


def test_all_taps_of_both_are_enough() -> None:
    result = diverge(WHOLE, WHOLE, SCRIPT, ulps=1).divergence
    assert (result.lacking, result.taps, result.exit_code) == ("", 5, 0)


def test_a_tap_that_is_lacking_at_one_position_is_not_enough() -> None:
    result = diverge(WHOLE, part(lambda key, position: (key, position) != ("0.q", 2)), SCRIPT, ulps=1).divergence
    assert (result.exit_code, result.lacking) == (3, "part lacks 1 of 5 taps (0.q)")


@pytest.mark.parametrize("shared", [False, True])
def test_sides_without_a_common_tap_are_a_bad_call(shared: bool) -> None:
    other = replace(part(lambda key, position: key == "0.q"), run="other")
    lacking = r"part lacks 1 of 1 tap \(0\.q\); other lacks 1 of 1 tap \(logits\)"
    with pytest.raises(BadCall, match=f"part and other have no tap in common: {lacking}"):
        diverge(LOGITS, other, SCRIPT, ulps=1, shared=shared)


def test_a_difference_is_one_however_little_is_shared() -> None:
    far = Values(run="far", values={at: row + 1 for at, row in LOGITS.values.items()})
    result = diverge(far, WHOLE, SCRIPT, ulps=1).divergence
    assert result.where is not None
    assert (result.where.key, result.exit_code) == ("logits", 1)
    assert lines(result, stored=False)[-1].endswith(f"; {LACKING.replace('part', 'far')}")
