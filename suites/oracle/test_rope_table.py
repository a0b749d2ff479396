"""RoPE tables: pinned bits, correct rounding against decimal arithmetic, and the float64 tables of the ideal form."""

from __future__ import annotations

import hashlib
import time
from decimal import Decimal, getcontext, localcontext

import numpy as np
import pytest
from numpy.typing import NDArray

from reference.forms import true_rope_table
from reference.spec import rope_table as module
from reference.spec.double_double import round_once
from reference.spec.rope_table import Rope, frequencies, magnitude, rope_table

QWEN3 = Rope(theta=1e6, n_rot=128)
LINEAR = Rope(theta=1e4, n_rot=64, scaling="linear", factor=3.0)
YARN = Rope(theta=1e6, n_rot=128, scaling="yarn", factor=4.0, original_context=32768)
YARN_WIDE = Rope(theta=100.0, n_rot=32, scaling="yarn", factor=2.0, original_context=4096)
YARN_LOW = Rope(theta=1e4, n_rot=64, scaling="yarn", factor=8.0, original_context=128)  # beta_fast below pair 0
YARN_HIGH = Rope(theta=10.0, n_rot=32, scaling="yarn", factor=2.5, original_context=4096, beta_fast=128.0)
ATTN = Rope(theta=5e5, n_rot=80, attn_factor=1.25)
ROPES = {
    "qwen3": QWEN3,
    "linear": LINEAR,
    "yarn": YARN,
    "yarn wide": YARN_WIDE,
    "yarn low": YARN_LOW,
    "yarn high": YARN_HIGH,
    "attn_factor": ATTN,
}

PINNED = {
    "qwen3": "0171d89f9502a27d8668f0ae5e7f387e2b21b21308376f822384a0beab641372",
    "linear": "d6b3334f3a7f24b86472dfc54110dbc8e5da23932cd1a8dd76f68ef5df503fe3",
    "yarn": "2ecc3aef7e1e107ab216b95c03e4387110f4d14b91ed9c8af7b77a9fd79e888a",
    "yarn wide": "5371cefbf2024a930073143a11dbc897fb66e1d47678704a547b15b60e4f5534",
    "yarn low": "3517d69350a7064a396833b21b6fdfa976e557576fe4eef213a4acdb0571ebe0",
    "yarn high": "bbd13373fb6502c0238bd3e7e30f39fe1f22e0dc384e8f64b4f9daaebfa212e8",
    "attn_factor": "52249a1fcd98e5efbf2d670abfe2c8807c7a53e5cdee319ab76811f97aeeac34",
}


def _pi() -> Decimal:
    """Gauss and Legendre, in the current precision: another route than Machin's."""
    a, b, t, p = Decimal(1), 1 / Decimal(2).sqrt(), Decimal("0.25"), 1
    for _ in range(8):
        a, b, t, p = (a + b) / 2, (a * b).sqrt(), t - p * ((a - b) / 2) ** 2, 2 * p
    return (a + b) ** 2 / (4 * t)


def _cos_sin(x: Decimal) -> tuple[Decimal, Decimal]:
    """Of any angle: whole turns taken off, then the power series."""
    x = x.remainder_near(2 * _pi())
    sums, term, k = [Decimal(0)] * 4, Decimal(1), 0
    while abs(term) > Decimal(10) ** -getcontext().prec:
        sums[k % 4] += term
        k += 1
        term = term * x / k
    return sums[0] - sums[2], sums[1] - sums[3]


def _true_frequencies(rope: Rope) -> list[Decimal]:
    """Radians per position of every pair, from the formulas of the docstring of Rope."""
    log_theta = Decimal(rope.theta).ln()
    plain = [(-2 * i * log_theta / rope.n_rot).exp() for i in range(rope.n_rot // 2)]
    factor = Decimal(rope.factor)
    if rope.scaling == "none":
        return plain
    if rope.scaling == "linear":
        return [f / factor for f in plain]
    pairs = [
        rope.n_rot * (Decimal(rope.original_context) / (2 * _pi() * Decimal(beta))).ln() / (2 * log_theta)
        for beta in (rope.beta_fast, rope.beta_slow)
    ]
    low = max(0, int(pairs[0].to_integral_value("ROUND_FLOOR")))
    high = min(rope.n_rot - 1, int(pairs[1].to_integral_value("ROUND_CEILING")))
    width = max(Decimal(high - low), Decimal("0.001"))
    ramp = [min(max(Decimal(i - low) / width, Decimal(0)), Decimal(1)) for i in range(len(plain))]
    return [f / factor * r + f * (1 - r) for f, r in zip(plain, ramp, strict=True)]


def _true_magnitude(rope: Rope) -> Decimal:
    yarn = Decimal("0.1") * Decimal(rope.factor).ln() if rope.scaling == "yarn" else Decimal(0)
    return Decimal(rope.attn_factor) * (1 + yarn)


def _is_nearest(value: np.float32, true: Decimal) -> bool:
    """Whether no float32 is nearer to `true` than `value`."""
    error = abs(Decimal(float(value)) - true)
    return all(error < abs(Decimal(float(np.nextafter(value, np.float32(side)))) - true) for side in (-np.inf, np.inf))


@pytest.mark.parametrize("name", ROPES)
def test_sampled_entries_are_correctly_rounded(name: str) -> None:
    rope = ROPES[name]
    rng = np.random.default_rng([len(name)])
    positions = np.unique([0, 1, 2, 3, 4095, 4096, 40959, *rng.integers(0, 1 << 20, 12).tolist()])
    with localcontext() as context:
        context.prec = 60
        true, factor = _true_frequencies(rope), _true_magnitude(rope)
        for position in positions.tolist():
            cos, sin = rope_table(rope, 1, first=position)
            for i in np.unique([0, 1, *rng.integers(0, len(true), 8), len(true) - 1]).tolist():
                c, s = _cos_sin(position * true[i])
                assert _is_nearest(cos[0, i], c * factor), (position, i, cos[0, i], c * factor)
                assert _is_nearest(sin[0, i], s * factor), (position, i, sin[0, i], s * factor)


@pytest.mark.parametrize("name", ["qwen3", "yarn"])
def test_the_pairs_are_good_to_58_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the last rounding, relative to the value, cos and sin near 0 included."""
    rope, found = ROPES[name], []

    def watching(pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float32]:
        found.append(pair)
        return round_once(pair)

    monkeypatch.setattr(module, "round_once", watching)
    rope_table(rope, 400, first=40000)
    with localcontext() as context:
        context.prec = 60
        true, factor = _true_frequencies(rope), _true_magnitude(rope)
        small = {int(np.argmin(np.abs(high))) for high, _ in found}
        for flat in small | set(np.random.default_rng(0).integers(0, 400 * len(true), 60).tolist()):
            row, i = divmod(flat, len(true))
            for (high, low), exact in zip(found, _cos_sin((40000 + row) * true[i]), strict=True):
                value = Decimal(float(high[row, i])) + Decimal(float(low[row, i]))
                assert abs(value / (exact * factor) - 1) < Decimal(2) ** -58, (row, i)


def test_the_hardest_entries_are_correctly_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 40960 x 64 entries those that lie closest to the middle of two float32, where an error would show."""
    found: list[tuple[float, int, float]] = []  # distance in float32 ulps, flat index, rounded value

    def watching(pair: tuple[NDArray[np.float64], NDArray[np.float64]]) -> NDArray[np.float32]:
        value = round_once(pair)
        away = np.abs((pair[0] - value.astype(np.float64)) + pair[1]) / np.spacing(np.abs(value)).astype(np.float64)
        index = int(np.argmin(np.abs(away - 0.5)))
        found.append((abs(float(away.flat[index]) - 0.5), index, float(value.flat[index])))
        return value

    monkeypatch.setattr(module, "round_once", watching)
    rope_table(QWEN3, 40960)
    rows = module._BLOCK // 64
    entries = sorted((*entry, number) for number, entry in enumerate(found))[:24]
    assert entries[0][0] < 1e-6
    with localcontext() as context:
        context.prec = 60
        true = _true_frequencies(QWEN3)
        for _, index, value, number in entries:  # cos and sin take turns, block by block
            position, pair = number // 2 * rows + index // 64, index % 64
            exact = _cos_sin(position * true[pair])[number % 2]
            assert _is_nearest(np.float32(value), exact), (position, pair)


@pytest.mark.parametrize("name", ROPES)
def test_frequencies_and_magnitude(name: str) -> None:
    rope = ROPES[name]
    with localcontext() as context:
        context.prec = 80
        for turns, radians in zip(frequencies(rope), _true_frequencies(rope), strict=True):
            assert abs(Decimal(turns) / 2**256 * 2 * _pi() / radians - 1) < Decimal(10) ** -60
        assert abs(Decimal(magnitude(rope)) / 2**256 - _true_magnitude(rope)) < Decimal(10) ** -70


@pytest.mark.parametrize("name", ROPES)
def test_pinned_bits(name: str) -> None:
    """The first 4096 positions, cos then sin, little endian: the same on every machine."""
    digest = hashlib.sha256(b"".join(table.astype("<f4").tobytes() for table in rope_table(ROPES[name], 4096)))
    assert digest.hexdigest() == PINNED[name]


@pytest.mark.parametrize("name", ROPES)
def test_the_ideal_tables_agree(name: str) -> None:
    """Half an ulp of float32 at 1.5, and float64's error of an angle of 40959 radians."""
    rope = ROPES[name]
    for table, true in zip(rope_table(rope, 40960), true_rope_table(rope, 40960), strict=True):
        assert np.max(np.abs(table - true)) <= 2.0**-24 * 1.0001
        assert true.dtype == np.float64


def test_any_first_position_gives_the_same_rows() -> None:
    cos, sin = rope_table(YARN, 1500)
    for first, count in ((0, 1), (1, 7), (511, 513), (1499, 1)):
        c, s = rope_table(YARN, count, first=first)
        assert (c == cos[first : first + count]).all()
        assert (s == sin[first : first + count]).all()
    assert [table.shape for table in rope_table(YARN, 0)] == [(0, 64), (0, 64)]


def test_position_0_turns_nothing() -> None:
    cos, sin = rope_table(QWEN3, 1)
    assert (cos == 1).all()
    assert (sin.view(np.uint32) == 0).all()


def test_a_full_table_is_fast() -> None:
    """40960 x 64 takes about 0.3 s of processor time."""
    start = time.process_time()
    rope_table(QWEN3, 40960)
    assert time.process_time() - start < 5


def test_yarn_of_factor_1_is_no_scaling() -> None:
    yarn = Rope(theta=1e4, n_rot=64, scaling="yarn", factor=1.0, original_context=512)
    plain = Rope(theta=1e4, n_rot=64)
    assert all((a == b).all() for a, b in zip(rope_table(yarn, 2000), rope_table(plain, 2000), strict=True))


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (0, (1 << 31) + 1)])
def test_positions_out_of_range(first: int, count: int) -> None:
    with pytest.raises(ValueError, match="positions"):
        rope_table(QWEN3, count, first=first)


def test_rope_refuses_what_has_no_meaning() -> None:
    with pytest.raises(ValueError, match="n_rot"):
        Rope(theta=1e4, n_rot=63)
    with pytest.raises(ValueError, match="original_context"):
        Rope(theta=1e4, n_rot=64, scaling="yarn", factor=2.0)
