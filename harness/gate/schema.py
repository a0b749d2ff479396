"""What a gate says: gate.json is one GateResult. Records here are plain; how they come about is in the modules beside.

`key` joins the rows of both arms: it names a configuration (model, shape, toggles, device), never code.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from harness.schema import Environment, Gpu, Record, Shape
from harness.store import encode_record, read_record

GATE_SCHEMA = 1
PLAN_FILE = "gate-plan.json"  # what a gate's folder is known by

ArmKind = Literal["commit", "wheel", "run"]
Metric = Literal["decode", "prefill", "counts", "parity"]
Verdict = Literal["slower", "same", "faster", "cannot_tell", "wrong", "missing", "broken", "accepted"]

CONFIRMED_HERE = "confirmed on the same GPU"
NOT_CONFIRMED = "not confirmed"


class Arm(Record, frozen=True, kw_only=True):
    """One side of the comparison, as its own processes reported it."""

    spec: str  # as given: a revision, a wheel, a run folder
    kind: ArmKind
    git_sha: str = ""  # empty for a wheel
    version: str = ""
    dirty: bool = False
    numerics: int | None = None  # None: no process of it answered
    tree: str = ""  # hash of the source tree that was measured; empty for a run folder
    engine: str = ""  # hash of what of it computes; empty for a run folder
    built: str = ""  # how its environment was made, in words


class RowVerdict(Record, frozen=True, kw_only=True):
    """One row in one metric; a row has one of each that was judged.

    "decode" and "prefill" are times: base_us and head_us are medians over the processes, in us per token and us per
    prompt; ratio is head over base (above 1 is slower), with low and high the bounds of its interval. "slower" was
    confirmed (`confirmation` says where); a slowdown that was not is "cannot_tell" with confirmation "not confirmed".
    "counts" is launches, graph kernels and engaged paths: any of "same", "slower" (more launches, or a path that no
    longer engages), "faster" (fewer), "accepted". "parity" is "same" (every check passed) or "wrong".
    "missing" and "broken" may stand in any metric.
    """

    key: str
    label: str  # the row in words
    model: str  # name and type, "qwen3-tiny Q8_0"
    shape: Shape
    toggles: dict[str, str | int]
    metric: Metric
    verdict: Verdict
    base_us: float | None = None
    head_us: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    smallest_visible: float | None = None  # the smallest slowdown that would have been seen: 0.03 is 3 %
    clock_ratio: float | None = None  # SM clock, head over base
    noise_class: str = ""
    confirmation: str = ""  # "" | "confirmed on GPU-..." | CONFIRMED_HERE | NOT_CONFIRMED
    reason: str = ""  # one line; empty for a plain "same"
    rerun: str = ""  # one command that judges this row alone


class CanaryVerdict(Record, frozen=True, kw_only=True):
    """The same small work in every process of both arms: if it moves, the machine did, and no time can be trusted."""

    name: str  # "copy" | "matvec" | "empty_graph"
    ratio: float | None  # head over base; None: nothing to compare
    low: float | None = None
    high: float | None = None
    pairs: int = 0
    moved: bool = False
    reason: str = ""


class ParityCheck(Record, frozen=True, kw_only=True):
    """One kind of check over all rows and processes of head."""

    name: str  # "graph = direct"
    passed: int = 0
    failed: int = 0
    not_applicable: int = 0
    values: int = 0  # compared
    differing: int = 0


class ParityBlock(Record, frozen=True, kw_only=True):
    checks: tuple[ParityCheck, ...] = ()  # by name, in the order first met
    first_divergence: str = ""  # row, check and the first differing element; empty when every check passed
    reproduce: str = ""  # one command for it


class SelftestScore(Record, frozen=True, kw_only=True):
    """Planted faults that the suites caught, of those planted."""

    caught: int
    planted: int
    catalogue: int = 0  # faults that there are for the device: more than `planted` after a sample; 0 if it is not said
    missed: tuple[str, ...] = ()  # names
    code: str = ""  # hash of what was tested; empty if the file does not say


class GateResult(Record, frozen=True, kw_only=True):
    """gate.json. Exit code 0 pass, 1 confirmed regression or parity failure, 2 broken, 3 cannot tell."""

    schema: int = GATE_SCHEMA
    base: Arm
    head: Arm
    device: str  # "host" | "cuda"
    gpu: Gpu | None = None
    policy: dict[str, float | str | tuple[float, ...]]  # the rules of the statistics, by name
    rows: tuple[RowVerdict, ...] = ()
    canaries: tuple[CanaryVerdict, ...] = ()
    parity: ParityBlock = ParityBlock()
    selftest: SelftestScore | None = None
    environment: Environment | None = None
    notes: tuple[str, ...] = ()  # what a reader must know besides, one line each
    started: str  # UTC, ISO 8601
    seconds: float
    pairs_spent: int = 0  # pairs of processes, confirmations included
    command: str = ""  # as it was called
    exit_code: int
    headline: str  # the verdict in one line


def encode(result: GateResult) -> bytes:
    """The bytes of gate.json."""
    return encode_record(result)


def read_gate(path: Path) -> GateResult:
    """A gate.json. Raises BadCall naming what is wrong with it."""
    return read_record(
        path,
        msgspec.json.Decoder(GateResult).decode,
        absent="cannot read",
        unfit=f"not a gate.json of schema {GATE_SCHEMA}",
    )
