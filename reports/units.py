"""Figures as texts: thousands set apart, decimal prefixes, a fixed number of digits."""

from __future__ import annotations

import math

from harness.schema import Spread

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))

PER_SECOND = {"GB/s": 1e9, "TB/s": 1e12, "GOP/s": 1e9, "TOP/s": 1e12, "GFLOP/s": 1e9, "TFLOP/s": 1e12}


def count(value: float) -> str:
    """A count or a mean of counts: 1,234,567 or 12.50 or 0.0046."""
    if not math.isfinite(value):
        return str(value)
    if value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.2g}"


def short(value: float, unit: str = "") -> str:
    """Three significant digits with a decimal prefix: 1.23 M, 4.67 GB. `unit` follows the prefix."""
    if not math.isfinite(value):
        return f"{value} {unit}".rstrip()
    for scale, prefix in _PREFIXES:
        if abs(value) >= scale * 0.9995:
            return f"{_three_digits(value / scale)} {prefix}{unit}"
    return f"{_three_digits(value)} {unit}".rstrip()


def plain(value: float) -> str:
    """A measured figure in its own unit, four digits: 1.02, 4,690."""
    return f"{value:,.4g}" if not abs(value) >= 1000 else f"{value:,.0f}"


def percent(value: float) -> str:
    return f"{value:.1f} %"


def figure(value: float) -> str:
    """A measured figure, three digits or all before the point: 1.02, 66.3, 4,690."""
    return short(value) if abs(value) >= 1e5 else _three_digits(value)


def spread(value: Spread | None) -> str:
    """Median with the whole range: 812 (801 to 815); an absent figure is a dash."""
    if value is None:
        return "—"
    return f"{figure(value.median)} ({figure(value.min)} to {figure(value.max)})"


def _three_digits(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    digits = 0 if size >= 99.95 or value == int(value) else 1 if size >= 9.995 else 2
    return f"{value:,.{digits}f}"
