"""What a worker process is asked: one record on its standard input, one record in the file it names."""

from __future__ import annotations

import msgspec

from harness.schema import Ceiling, Gpu, PlannedRow


class RowJob(msgspec.Struct, frozen=True, kw_only=True, tag="row"):
    """Make one row. The answer is a harness.schema.Row."""

    row: PlannedRow
    model_path: str
    cache: str  # folder for kernels and oracle logits
    repeats: int
    read_ceiling: float | None  # GB/s, measured on this machine
    environment: str  # Environment.id
    answer: str  # file to write


class ProbeJob(msgspec.Struct, frozen=True, kw_only=True, tag="probe"):
    """Look at a device. The answer is a Probe."""

    device: str
    cache: str
    ceilings: bool  # measure them; takes seconds
    answer: str


class Probe(msgspec.Struct, frozen=True, kw_only=True, tag="probed"):
    description: str
    gpu: Gpu | None
    free_bytes: int
    compile_flags: str
    ceilings: tuple[Ceiling, ...]


Job = RowJob | ProbeJob


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A worker's answer when it was asked for something that cannot be: one line for the user."""

    refused: str
