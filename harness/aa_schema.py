"""What an A/A run stores: aa.json, and the noise of its rows, which noise.toml holds as well."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from harness.schema import Gpu, Record
from harness.store import read_record

AA_SCHEMA = 1
RESULT = "aa.json"

NoiseClass = Literal["quiet", "normal", "noisy", "ungateable"]
FaultKind = Literal["missing", "broken", "wrong", "moved", "slower"]


class Fit(Record, frozen=True, kw_only=True):
    """A standard deviation of log medians (0.007 is 0.7 %) and the 95 % interval of it."""

    sd: float
    low: float
    high: float
    processes: int


class RowNoise(Record, frozen=True, kw_only=True):
    """One row in one metric."""

    key: str
    label: str
    metric: Literal["decode", "prefill"]
    median_us: float  # of the processes' medians
    fit: Fit
    noise_class: NoiseClass
    pairs: float  # that the gate spends on it on average where nothing has changed
    smallest_visible: float  # the slowdown that it sees nine times out of ten; 0.03 is 3 %
    false_alarms: int  # labellings of these very processes that the gate would call slower
    splits: int  # labellings tried


class AaFault(Record, frozen=True, kw_only=True):
    """What an A/A run must not show: rows that are not there, differ from themselves, or are called slower."""

    kind: FaultKind
    label: str
    reason: str


class CanaryNoise(Record, frozen=True, kw_only=True):
    """Of a canary. One that is noisier than 0.3 % says now and then of a machine at rest that it moved."""

    name: str
    fit: Fit


class AaResult(Record, frozen=True, kw_only=True):
    """aa.json. Exit code 0 as one program should be, 1 bits differ, 2 broken, 3 the machine moved or a false alarm."""

    schema: int = AA_SCHEMA
    started: str  # UTC, ISO 8601
    command: str
    device: str
    gpu: Gpu | None
    tree: str  # hash of the source tree that was measured
    version: str
    processes: int  # of each model
    owed: int  # rows
    timed: bool
    rows: tuple[RowNoise, ...]
    canaries: tuple[CanaryNoise, ...]
    faults: tuple[AaFault, ...]
    notes: tuple[str, ...]
    seconds: float
    exit_code: int
    headline: str


def read_result(folder: Path) -> AaResult:
    """Of a finished run's folder. Raises BadCall if it is none."""
    return read_record(
        folder / RESULT,
        msgspec.json.Decoder(AaResult).decode,
        absent="no finished A/A run",
        unfit=f"not the result of an A/A run of schema {AA_SCHEMA}",
    )
