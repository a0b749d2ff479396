"""What a run stores: plan, environment and rows. Version 2 of the schema; every record carries its number.

A reader meets the records of all earlier versions; a later change adds a number and an upgrade (harness/upgrade.py),
never rejects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

SCHEMA = 2

Status = Literal["ok", "parity_failed", "crashed", "hung", "out_of_memory", "not_applicable", "throttled", "error"]
CheckStatus = Literal["passed", "failed", "not_applicable"]
When = Literal["before", "after"]
Phase = Literal["prefill", "decode"]
PeerStatus = Literal["ok", "failed", "unmatched"]
FOREIGN = "command"  # the device of rows that an engine made which is not ours

CanaryName = Literal["copy", "matvec", "empty_graph"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of all stored records."""


class ModelFacts(Record, frozen=True, kw_only=True):
    """The model of a row; `sha256` of the whole file, `bytes` its size."""

    name: str  # "qwen3-tiny", or the file's stem for a user's own file
    quant: str  # "Q8_0", "Q4_K_M", ...; "mixed" where a user's file does not say
    sha256: str
    bytes: int


class Shape(Record, frozen=True, kw_only=True, omit_defaults=True):  # jobs go to arms of older code, too
    """What is computed. All are counts of tokens."""

    prompt: int  # prefilled at once
    generated: int  # decoded one after the other behind the prompt
    context: int  # KV capacity
    depth: int = 0  # already in the cache before the prompt
    verify: int = 0  # rows of a pass behind the prompt whose logits are all computed; 0: none is measured


def row_key(model: ModelFacts, shape: Shape, toggles: Mapping[str, str | int], device: str) -> str:
    """What is measured, whoever measures it: rows of two arms, runs or machines are joined by this.

    No code, repeats or environment is in it. `device` is "host" or "cuda".
    """
    sizes = msgspec.structs.asdict(shape)
    if not shape.verify:  # keys are stored, and some of them are older than this size
        del sizes["verify"]
    asked = [model.name, model.quant, model.sha256, sizes, dict(toggles), device]
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=8).hexdigest()


class Spread(Record, frozen=True, kw_only=True):
    """A measured figure over its repeats, in the unit its field names."""

    median: float
    min: float
    max: float
    samples: tuple[float, ...]


class Samples(Record, frozen=True, kw_only=True):
    """Repeats of one figure in one process, in the order measured; what was thrown away is counted, never hidden."""

    unit: Literal["us", "tokens/s"]
    values: tuple[float, ...]
    median: float
    stderr: float  # of the median, relative to it
    sm_mhz: tuple[float, ...] = ()  # of each value, measured on the device; empty: unknown
    discarded: int = 0  # samples thrown away because the GPU was throttled
    reasons: dict[str, int] = {}  # throttle reason -> samples it was seen in, kept ones included
    temperature_c: tuple[int, int] | None = None  # before, after; None: unknown


class Metrics(Record, frozen=True, kw_only=True):
    """Per-token figures. Speeds are None on the host device: an emulated speed is not a speed.

    `bytes` and `operations` come from the GGUF tensor list and the KV cache (harness/work_model.py), not from a
    measurement. Counts are read off the stream's counters; None where an engine that is not ours has none to read.
    """

    prefill_tps: Spread | None = None  # tokens / s
    decode_tps: Spread | None = None  # tokens / s
    host_us_per_token: Spread | None = None  # decode: microseconds the CPU needs to issue one token
    launches_per_token: float | None = None  # decode: what the CPU issues, direct kernels and graph replays alike
    graph_kernels_per_token: float | None = None  # decode: kernels run by graph replays
    prefill_launches_per_token: float | None = None
    bytes_per_token: float  # decode: bytes read from and written to memory, at the mean position
    operations_per_token: float  # decode: one multiply-add is two operations
    prefill_bytes_per_token: float
    prefill_operations_per_token: float
    percent_of_read_ceiling: float | None = None  # decode: bytes x median tokens/s over the measured read bandwidth
    first_token_seconds: float | None = None  # from opening the model file, kernels compiled before, to one token
    memory_bytes: int = 0  # weights, buffers and KV cache on the device, as its allocator counts them
    prefill: Samples | None = None  # us of device time for the whole prompt
    decode: Samples | None = None  # us of device time for a token
    verify: Samples | None = None  # us of device time for a pass of `Shape.verify` rows, all logits included
    verify_ratio: float | None = None  # median of `verify` over that of `decode`: what so many rows cost more than one


class Check(Record, frozen=True, kw_only=True):
    """One comparison of two ways to compute the same logits (or op outputs), by bits unless there is a `bound`.

    `name` is "left = right", for example "graph = direct". It failed if a bit differs, if nothing was compared, or if
    a side did not take the path it stands for (`reason` says which).
    """

    name: str
    when: When  # of the timed loop
    status: CheckStatus
    reason: str = ""  # why it failed or does not apply
    values: int = 0  # compared
    differing: int = 0
    worst_ulp: int | None = None  # None: nothing finite differs
    first_difference: str = ""  # index, both values
    left: str = ""  # what engaged on each side
    right: str = ""
    bound: str = ""  # within which a difference passes, for an engine that is not ours; empty: by bits


class Path(Record, frozen=True, kw_only=True):
    """What became of a toggle, counted from launches and graph nodes."""

    asked: str  # the toggle's value
    engaged: bool | None  # None: not applicable on this device, or nothing has run
    reason: str = ""  # why it did not engage as asked
    detail: str = ""  # the counts behind it


class Row(Record, frozen=True, kw_only=True):
    """One line of rows.jsonl: model x shape x toggles on one device."""

    schema: int = SCHEMA
    id: str  # content key: the row's configuration, model, code and device
    model: ModelFacts
    shape: Shape
    toggles: dict[str, str | int]
    device: str  # "host" | "cuda" | "command": an engine that is not ours
    status: Status
    reason: str = ""  # one line, empty when ok
    metrics: Metrics | None = None
    proof: tuple[Check, ...] = ()
    engaged: dict[str, Path] = {}  # "graph", "pdl", "prefill", "matmul", as the session reports them
    environment: str = ""  # Environment.id
    numerics: int
    started: str  # UTC, ISO 8601
    seconds: float  # wall clock of the row, model loading included

    @property
    def key(self) -> str:
        """See row_key."""
        return row_key(self.model, self.shape, self.toggles, self.device)


class Peer(Record, frozen=True, kw_only=True):
    """One line of peers.jsonl: what another program measured, or why it has no figure.

    "ok" and "failed" name the model, shape and phase of our rows that it stands beside; "unmatched" is an entry of a
    user's file that belongs to none. Texts but `program`, `source` and `command` are the program's own.
    """

    schema: int = SCHEMA
    id: str  # of what was measured: a later line of the same id replaces this one
    program: str  # "llama-bench"
    source: str  # the binary, or the file with its output
    status: PeerStatus
    reason: str = ""  # one line, empty when ok
    model: ModelFacts | None = None
    shape: Shape | None = None
    phase: Phase | None = None
    position: int = 0  # tokens in the cache before the first that was timed
    tps: Spread | None = None  # tokens / s
    label: str = ""  # the model as the program calls it
    build: str = ""  # commit and number
    gpu: str = ""
    kv: str = ""  # storage type of the KV cache
    flags: dict[str, str | int] = {}  # the settings it reports
    command: str = ""  # as we called it; empty for a file
    started: str  # UTC, ISO 8601


class Imported(Record, frozen=True, kw_only=True):
    """One line of imported.jsonl: a figure out of another program's file, kept as it says it. Texts are its own."""

    schema: int = SCHEMA
    id: str  # of the content: the same figure imported again is the same line
    program: Literal["pytest-benchmark", "llama-bench"]
    source: str  # name of the file
    name: str  # "suites/performance/test_store.py::test_load", "qwen3 8B Q8_0, prompt 512 at 0"
    group: str = ""
    unit: Literal["s", "tokens/s"]
    median: float
    min: float
    max: float
    count: int  # samples behind the median
    samples: tuple[float, ...] = ()  # empty where the file keeps none
    machine: str = ""
    build: str = ""  # commit
    started: str = ""  # as the file writes it
    facts: dict[str, str | int | float | bool | None] = {}  # settings and further figures that the file gives


AboveZero = Annotated[float, msgspec.Meta(gt=0)]


class Target(Record, frozen=True, kw_only=True):
    """A figure that some rows must reach, and one they aim at; in which unit, harness.targets.FIGURES says."""

    name: str  # for people
    where: str  # as `--where` has it: the rows it is for
    figure: str  # a field of Metrics
    must: AboveZero
    aim: AboveZero | None = None
    rows: tuple[str, ...] = ()  # ids, once they are planned


class PlannedRow(Record, frozen=True, kw_only=True):
    """A row that a run owes. One without a Row of the same id is missing."""

    id: str
    model: ModelFacts
    shape: Shape
    toggles: dict[str, str | int]
    device: str

    @property
    def key(self) -> str:
        """See row_key."""
        return row_key(self.model, self.shape, self.toggles, self.device)


class Plan(Record, frozen=True, kw_only=True):
    """plan.json: written before the first row."""

    schema: int = SCHEMA
    started: str  # UTC, ISO 8601
    command: str  # as it was called
    rows: tuple[PlannedRow, ...]
    matrix: str = ""  # the TOML text the rows came from, so that a run can be resumed
    matrix_path: str = ""  # where it lay: paths of models in it are relative to its folder
    where: str = ""
    device: str = ""
    repeats: int = 0  # 0: as the matrix says
    peer: str = ""  # NAME=PATH of a program that is measured beside the rows
    targets: tuple[Target, ...] = ()  # what the rows are held against
    parts: tuple[str, ...] = ()  # the commands of the runs that a merge put together


class Gpu(Record, frozen=True, kw_only=True):
    name: str
    uuid: str
    compute_capability: str  # "9.0"
    multiprocessors: int
    memory_bytes: int
    driver: str
    cuda: str  # of the runtime that compiled and ran the kernels


class GpuState(Record, frozen=True, kw_only=True):
    """What the driver's management library says of a GPU at one moment. None or empty where it does not say."""

    absent: str = ""  # why nothing is known, one line
    ecc: bool | None = None
    power_limit_w: float | None = None
    sm_mhz: int | None = None  # now
    sm_most_mhz: int | None = None
    memory_mhz: int | None = None
    temperature_c: int | None = None
    reasons: tuple[str, ...] = ()  # why clocks are below their most: "sw_power_cap", "hw_thermal_slowdown", ...


class Ceiling(Record, frozen=True, kw_only=True):
    """A limit of the machine, measured on it."""

    name: str  # "read", "int8_mma", "fp32_fma", "graph_node", ...
    unit: str  # "GB/s", "TOP/s", "us"
    median: float
    min: float
    max: float
    samples: int


class Environment(Record, frozen=True, kw_only=True):
    """environment.json: where the rows were made."""

    schema: int = SCHEMA
    id: str  # hash of the facts that stay the same over a boot
    machine: str
    os: str
    cpu: str
    cores: int  # that this process may use
    memory_bytes: int
    gpu: Gpu | None = None
    python: str
    libraries: dict[str, str]  # package -> version
    git_commit: str = ""  # empty outside a checkout
    git_dirty: bool = False
    tree: str = ""  # code_hash(TREE): the packages that ran; empty in runs of before there was the field
    version: str  # of zeroulp
    numerics: int
    compile_flags: dict[str, str]  # device -> flags
    command: str  # to reproduce
    ceilings: tuple[Ceiling, ...] = ()
    gpu_state: GpuState | None = None  # when the run began; no part of `id`; None without a GPU


class Measurement(Record, frozen=True, kw_only=True):
    """One row in one process. Times are None on the host device; counts and proof are always there when it is ok."""

    key: str  # PlannedRow.key
    id: str  # PlannedRow.id
    status: Status
    reason: str = ""  # one line, empty when ok
    prefill: Samples | None = None  # us of device time for the whole prompt
    decode: Samples | None = None  # us of device time for a token
    proof: tuple[Check, ...] = ()
    engaged: dict[str, Path] = {}
    launches_per_token: float | None = None  # decode, as in Metrics
    graph_kernels_per_token: float | None = None
    warm_up: str = ""  # one line if time or clock did not become flat before it was sampled
    limit: str = ""  # why the figures cannot be: above 105 % of what the machine was measured to do
    spent: dict[str, float] = {}  # seconds of its parts: "proof", "times"


class Canary(Record, frozen=True, kw_only=True):
    """The same small work in every process: if it moves, the machine did."""

    name: CanaryName
    samples: Samples  # us


class ProcessAnswer(Record, frozen=True, kw_only=True):
    """What one process measured: one model, loaded once, its rows in shuffled order."""

    schema: int = SCHEMA
    version: str  # of zeroulp, as the process imports it
    git_commit: str = ""  # empty outside a checkout
    git_dirty: bool = False
    tree: str = ""  # code_hash(TREE): the packages that it imports, whatever they are called
    numerics: int
    gpu: Gpu | None = None
    gpu_state: GpuState | None = None  # when the process began
    started: str  # UTC, ISO 8601
    seconds: float
    order: tuple[str, ...]  # keys as measured
    rows: tuple[Measurement, ...] = ()
    canaries: tuple[Canary, ...] = ()
    spent: dict[str, float] = {}  # seconds before the rows: "opening", "canaries"
