"""What a profile stores: kernels.jsonl, one line for each step that was taken apart. Version 1 of its schema."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import BadCall
from harness.schema import ModelFacts, Record, Spread
from harness.store import write_atomically

PROFILE_SCHEMA = 1
KERNELS = "kernels.jsonl"


class KernelRow(Record, frozen=True, kw_only=True):
    """All launches of a step that run one kernel on one shape: the same kernel, geometry, sizes and types.

    `us` is one call, cold: its weights and keys are not in the L2 cache, and it starts after its predecessor has ended.
    What an empty kernel takes in its place is already subtracted. Bytes and operations are of all calls together.
    """

    kernel: str
    module: str
    shape: str  # "1 x 4096 x 4096 Q4_K" (rows, outputs, columns), or the shape of what it writes
    weights: tuple[str, ...]  # roles of the tensors read, "attn_q", "ffn_up" ...
    calls: int  # of a step
    grid: int
    block: int
    shared: int
    us: Spread
    weight_bytes: float
    kv_bytes: float  # keys and values, read and written
    operations: float  # one multiply-add is two; of matrices and attention only
    dram_bytes: float | None = None  # read from memory by the GPU's counters, of all calls; None: they were not read
    roof: str = ""  # ceiling that bounds it; empty if it moves and computes next to nothing, or none was measured
    percent_of_roof: float | None = None

    @property
    def bytes(self) -> float:
        return self.weight_bytes + self.kv_bytes

    @property
    def step_us(self) -> float:
        """Of all calls."""
        return self.calls * self.us.median

    @property
    def bytes_per_s(self) -> float:
        return self.bytes / (1e-6 * self.step_us) if self.step_us > 0 else float("nan")

    @property
    def operations_per_s(self) -> float:
        return self.operations / (1e-6 * self.step_us) if self.step_us > 0 else float("nan")


class Profile(Record, frozen=True, kw_only=True):
    """One step, kernel by kernel."""

    schema: int = PROFILE_SCHEMA
    model: ModelFacts
    rows: int  # tokens of the step; 1 is a decode step
    position: int  # tokens in the cache before it
    context: int  # KV capacity
    toggles: dict[str, str | int]
    device: str
    environment: str  # Environment.id
    numerics: int
    started: str  # UTC, ISO 8601
    step_us: Spread  # the whole step replayed as one graph, with the toggles above
    empty_us: float  # an empty kernel of a graph, subtracted from every call
    model_bytes: float  # of the step, as harness/work_model.py counts it
    kernels: tuple[KernelRow, ...]

    @property
    def kernels_us(self) -> float:
        return sum(row.step_us for row in self.kernels)

    @property
    def gaps_us(self) -> float:
        """What the step takes beyond its kernels; below zero where they overlap by more than the gaps cost."""
        return self.step_us.median - self.kernels_us

    @property
    def calls(self) -> int:
        return sum(row.calls for row in self.kernels)

    @property
    def bytes(self) -> float:
        return sum(row.bytes for row in self.kernels)

    @property
    def operations(self) -> float:
        return sum(row.operations for row in self.kernels)


def write_profiles(folder: Path, profiles: tuple[Profile, ...]) -> None:
    lines = b"".join(msgspec.json.encode(profile) + b"\n" for profile in profiles)
    write_atomically(folder / KERNELS, lines)


def read_profiles(folder: Path) -> tuple[Profile, ...]:
    """All profiles of a run folder; none if it has no kernels.jsonl. Raises BadCall for a line that is no profile."""
    path = folder / KERNELS
    if not path.exists():
        return ()
    try:
        return tuple(_decode(line) for line in path.read_bytes().splitlines() if line)
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    except msgspec.MsgspecError as error:
        raise BadCall(f"{path}: not a profile of schema {PROFILE_SCHEMA} ({error})") from None


class _Version(msgspec.Struct):
    schema: int


def _decode(line: bytes) -> Profile:
    version = msgspec.json.decode(line, type=_Version).schema
    if version != PROFILE_SCHEMA:
        raise msgspec.ValidationError(f"schema {version}, expected {PROFILE_SCHEMA}")
    return msgspec.json.decode(line, type=Profile)
