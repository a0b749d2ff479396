"""How much fresh processes of one program differ, row by row, and what the gate can see through it.

Fitted from an A/A run: the medians of all its processes, in the order of time. A noise.toml holds the result.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.aa_schema import Fit, NoiseClass, RowNoise
from harness.config import read_text
from harness.errors import BadCall
from harness.gate.times import TimeMetric
from harness.schema import Gpu, Record
from harness.statistics import SLOWER, Policy, decide, smallest_visible
from harness.words import plural

Floats = NDArray[np.float64]

NOISE_SCHEMA = 1
QUIET, NORMAL, NOISY, UNGATEABLE = 0.003, 0.007, 0.012, 0.015  # standard deviations of process medians
FEWEST = 4  # processes that a standard deviation is fitted from
CONFIDENCE = 0.95
TRIALS = 4000
MOST_SPLITS = 4096


class NoiseFile(Record, frozen=True, kw_only=True):
    """noise.toml."""

    schema: int = NOISE_SCHEMA
    started: str  # UTC, ISO 8601
    device: str
    gpu: Gpu | None = None
    version: str
    tree: str  # hash of the source tree that was measured
    row: tuple[RowNoise, ...] = ()


def classify(fit: Fit) -> NoiseClass:
    """By the fitted standard deviation. Between 1.2 % and 1.5 % a row is noisy while its interval reaches to 1.2 %."""
    if fit.sd <= QUIET:
        return "quiet"
    if fit.sd <= NORMAL:
        return "normal"
    if fit.sd <= NOISY or (fit.sd <= UNGATEABLE and fit.low <= NOISY):
        return "noisy"
    return "ungateable"


def fit_noise(medians: Sequence[float]) -> Fit:
    """From medians of processes, in the order of time. Raises BadCall for too few, and for times that are none.

    Neighbours are compared, so that a slow drift is no noise, and the largest quarter of the differences is left out,
    so that one accident is none either. What that does to normal noise is known from seeded simulation of as many
    processes: the median of it is divided out, its quantiles give the interval.
    """
    if len(medians) < FEWEST:
        raise BadCall(f"{plural(len(medians), 'process', 'processes')}: expected at least {FEWEST} to fit their noise")
    if not all(0 < median < math.inf for median in medians):
        raise BadCall(f"medians of processes {', '.join(f'{median:g}' for median in medians)} us: expected times")
    raw = float(_trimmed(np.log(np.asarray(medians, dtype=np.float64))[None])[0])
    low, middle, high = _reference(len(medians))
    return Fit(sd=raw / middle, low=raw / high, high=raw / low, processes=len(medians))


def row_noise(key: str, label: str, metric: TimeMetric, medians: Sequence[float], policy: Policy) -> RowNoise:
    """Everything that is said of a row, from its medians in the order of time; an odd last one makes no pair."""
    fit = fit_noise(medians)
    alarms, splits = false_alarms(medians, policy)
    median = float(np.median(medians))
    pair = math.sqrt(2) * fit.sd
    return RowNoise(
        key=key,
        label=label,
        metric=metric,
        median_us=median,
        fit=fit,
        noise_class=classify(fit),
        pairs=predicted_pairs(fit.sd, policy),
        smallest_visible=smallest_visible(pair, median, policy),
        false_alarms=alarms,
        splits=splits,
    )


def predicted_pairs(sd: float, policy: Policy) -> float:
    """Mean pairs where nothing has changed, by seeded simulation of the rule in normal noise."""
    logs = math.sqrt(2) * sd * np.random.default_rng(0).standard_normal((TRIALS, policy.looks[-1]))
    _, pairs = decide(logs, np.full_like(logs, math.inf), policy)  # large in us, as a faster row must be, too
    return float(pairs.mean())


def false_alarms(medians: Sequence[float], policy: Policy) -> tuple[int, int]:
    """Labellings of neighbours as base and head, either way round in every pair, that the gate would call slower.

    All of them up to 12 pairs, a seeded 4096 beyond. They share their data: a count, and not as many trials.
    """
    times = np.asarray(medians[: len(medians) // 2 * 2], dtype=np.float64).reshape(-1, 2)
    logs, differences = np.log(times[:, 1] / times[:, 0]), times[:, 1] - times[:, 0]
    signs = _signs(len(times))
    codes, _ = decide(signs * logs, signs * differences, policy)
    return int(np.count_nonzero(codes == SLOWER)), len(signs)


def noise_text(noise: NoiseFile) -> str:
    """The TOML that `read_noise` reads."""
    data: Mapping[str, object] = msgspec.to_builtins(noise)
    lines = [f"{name} = {_toml(value)}" for name, value in data.items() if name != "row" and value is not None]
    for row in noise.row:
        fields: Mapping[str, object] = msgspec.to_builtins(row)
        lines += ["", "[[row]]", *(f"{name} = {_toml(value)}" for name, value in fields.items())]
    return "\n".join(lines) + "\n"


def read_noise(path: Path) -> NoiseFile:
    """A noise.toml. Raises BadCall naming what is wrong with it."""
    try:
        data = tomllib.loads(read_text(path))
        if data.get("schema") != NOISE_SCHEMA:
            raise BadCall(f"{path}: schema: expected {NOISE_SCHEMA}")
        return msgspec.convert(data, NoiseFile, strict=False)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadCall(f"{path}: not a file of noise ({error})") from None


def _trimmed(logs: Floats) -> Floats:
    """Of each row of log medians: root mean square of neighbours' differences without the largest quarter."""
    squares = np.sort(np.diff(logs, axis=1) ** 2, axis=1)
    kept = squares.shape[1] - math.ceil(squares.shape[1] / 4)
    result: Floats = np.sqrt(squares[:, :kept].mean(axis=1) / 2)
    return result


@lru_cache(maxsize=64)
def _reference(processes: int) -> tuple[float, float, float]:
    """What `_trimmed` makes of normal noise of standard deviation 1: lower end, median, upper end."""
    raw = _trimmed(np.random.default_rng(0).standard_normal((TRIALS, processes)))
    low, middle, high = np.quantile(raw, [(1 - CONFIDENCE) / 2, 0.5, (1 + CONFIDENCE) / 2])
    return float(low), float(middle), float(high)


def _signs(pairs: int) -> Floats:
    """(labellings, pairs) of 1 and -1."""
    if 2**pairs > MOST_SPLITS:
        return np.random.default_rng(0).choice([-1.0, 1.0], (MOST_SPLITS, pairs))
    bits = (np.arange(2**pairs)[:, None] >> np.arange(pairs)) & 1
    return 1.0 - 2.0 * bits.astype(np.float64)


def _toml(value: object) -> str:
    """A value of JSON's kinds as TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {_toml(item)}" for name, item in value.items()) + " }"
    if isinstance(value, float):
        return repr(value)  # also "inf" and "nan", which TOML spells like Python
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
