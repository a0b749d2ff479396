"""What a worker process is asked: one record on its standard input, one record in the file it names."""

from __future__ import annotations

import msgspec

from harness.rules import Rules
from harness.schema import Ceiling, Gpu, GpuState, PlannedRow
from harness.user_kernel import KernelCall


class RowJob(msgspec.Struct, frozen=True, kw_only=True, tag="row"):
    """Make one row. The answer is a harness.schema.Row."""

    row: PlannedRow
    model_path: str
    cache: str  # folder for kernels and oracle logits
    repeats: int
    read_ceiling: float | None  # GB/s, measured on this machine
    environment: str  # Environment.id
    answer: str  # file to write


class ProcessJob(msgspec.Struct, frozen=True, kw_only=True, tag="process"):
    """Load one model once and measure its rows, in an order that `seed` shuffles. The answer is a ProcessAnswer."""

    rows: tuple[PlannedRow, ...]  # of one model on one device
    model_path: str
    cache: str  # folder for kernels and oracle logits
    seed: int
    rules: Rules
    canaries: bool
    ceilings: tuple[Ceiling, ...] = ()  # measured on this GPU; what the canaries show counts as well
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
    gpu_state: GpuState | None = None


class KernelJob(msgspec.Struct, frozen=True, kw_only=True, tag="kernel"):
    """Run a user's kernel on the cases of an op. The answer is a harness.user_kernel.KernelAnswer."""

    call: KernelCall
    cache: str
    answer: str


Job = RowJob | ProcessJob | ProbeJob | KernelJob


class Refusal(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """A worker's answer when it was asked for something that cannot be: one line for the user."""

    refused: str
