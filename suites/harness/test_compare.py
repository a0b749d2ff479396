"""Comparing by bits: what differs, by how much, where; what counts as the same."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.compare import compare, joined, ordered

ONE = np.float32(1)
NAN, INF = np.float32("nan"), np.float32("inf")


def values(*items: float | np.float32) -> NDArray[np.float32]:
    return np.array(items, np.float32)


def test_the_same_bits_are_the_same() -> None:
    left = np.random.default_rng(1).standard_normal((5, 7)).astype(np.float32)
    result = compare(left, left.copy())
    assert result.same
    assert (result.values, result.differing, result.worst_ulp, result.first_difference) == (35, 0, 0, "")


def test_one_ulp_is_found_with_its_place_and_both_values() -> None:
    left = np.zeros((3, 4), np.float32) + ONE
    right = left.copy()
    right[2, 1] = np.nextafter(ONE, np.float32(2))
    result = compare(left, right)
    assert not result.same
    assert (result.differing, result.worst_ulp) == (1, 1)
    assert result.first_difference == "[2, 1]: 1 against 1.00000012; worst [2, 1]: 1 against 1.00000012, 1 ulp"


def test_first_and_worst_are_told_apart() -> None:
    result = compare(values(1, 1, 1), values(np.nextafter(ONE, INF), 1, 2))
    assert result.worst_ulp == 2**23
    assert result.first_difference.startswith("[0]: 1 against 1.00000012; worst [2]: 1 against 2, 8388608 ulp")


@pytest.mark.parametrize("other", [0.0, 1.0, float("inf")])
def test_nan_differs_from_everything_but_nan(other: float) -> None:
    assert compare(values(NAN), values(other)).differing == 1
    assert compare(values(NAN), values(other)).worst_ulp is None
    assert not compare(values(other), values(NAN)).same


def test_nan_is_nan_whatever_its_payload() -> None:
    payloads = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert compare(payloads, np.roll(payloads, 1)).same


def test_zeros_of_either_sign_differ_by_one_ulp() -> None:
    result = compare(values(0.0), values(-0.0))
    assert (result.differing, result.worst_ulp) == (1, 1)


def test_infinities_differ_by_sign() -> None:
    assert compare(values(INF), values(INF)).same
    assert not compare(values(INF), values(-INF)).same


def test_nothing_compared_is_not_the_same() -> None:
    assert not compare(values(), values()).same


def test_another_shape_differs_everywhere() -> None:
    result = compare(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
    assert not result.same
    assert result.first_difference == "shape (2, 3) against (3, 2)"


def test_only_float32_is_compared() -> None:
    with pytest.raises(TypeError, match="float64"):
        compare(np.zeros(1), np.zeros(1))  # type: ignore[arg-type]


def test_ordered_counts_floats() -> None:
    line = [-np.inf, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, np.inf]
    numbers = ordered(np.array(line, np.float32))
    assert (np.diff(numbers) > 0).all()
    assert numbers[3:6].tolist() == [-1, 0, 1]


def test_joined_keeps_the_first_name_and_the_worst_distance() -> None:
    small, large = compare(values(1), values(np.nextafter(ONE, INF))), compare(values(1), values(2))
    both = joined([("a", compare(values(1), values(1))), ("b", small), ("c", large)])
    assert (both.values, both.differing, both.worst_ulp) == (3, 2, 2**23)
    assert both.first_difference.startswith("b [0]: 1 against")
