"""Results of gates, for tests of their report."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.gate.schema import (
    CONFIRMED_HERE,
    NOT_CONFIRMED,
    Arm,
    CanaryVerdict,
    GateResult,
    ParityBlock,
    ParityCheck,
    RowVerdict,
    SelftestScore,
    Verdict,
)
from harness.schema import Shape
from suites.reports.stored_runs import GPU, STARTED, machine

SHAPE = Shape(prompt=128, generated=128, context=4096)
POLICY: dict[str, float | str | tuple[float, ...]] = {
    "looks": (4.0, 6.0, 8.0, 12.0, 16.0),
    "floor": 0.02,
    "slower_alpha": 0.001,
    "class": "quiet",
}
CHECKS = tuple(
    ParityCheck(name=name, passed=96, values=9_600_000)
    for name in ("graph = direct", "batched = sequential", "engine = oracle")
)
HEADLINES = {0: "PASS: nothing moved", 1: "REGRESSION: see below", 2: "BROKEN: see below", 3: "CANNOT TELL: see below"}


def verdict(name: Verdict, number: int = 0, **changes: Any) -> RowVerdict:
    """A time of one row, with the figures that go with its verdict."""
    ratio = {"slower": 1.044, "faster": 0.93, "cannot_tell": 1.018, "accepted": 1.05}.get(name, 1.001)
    row = RowVerdict(
        key=f"{number:016x}",
        label=f"qwen3-8b Q4_K_M on cuda; prompt 128 + 128, context 4096; graph on, pdl on, variant {number}",
        model="qwen3-8b Q4_K_M",
        shape=SHAPE,
        toggles={"graph": "on"},
        metric="decode",
        verdict=name,
        base_us=2519.0,
        head_us=2519.0 * ratio,
        ratio=ratio,
        low=ratio - 0.009,
        high=ratio + 0.009,
        pairs=6,
        smallest_visible=0.031,
        noise_class="normal",
        confirmation={"slower": CONFIRMED_HERE, "cannot_tell": NOT_CONFIRMED}.get(name, ""),
        rerun=f"zeroulp gate main feature --where 'prompt == {128 + number}'",
    )
    if name in ("wrong", "missing", "broken"):
        gone = {"metric": "parity", "base_us": None, "head_us": None, "ratio": None, "low": None, "high": None}
        row = msgspec.structs.replace(row, **gone, pairs=0, noise_class="", reason=f"the row is {name}")
    return msgspec.structs.replace(row, **changes)


def same(number: int) -> tuple[RowVerdict, ...]:
    return tuple(verdict("same", place) for place in range(number))


def gate(*rows: RowVerdict, exit_code: int = 0, **changes: Any) -> GateResult:
    result = GateResult(
        base=Arm(spec="main", kind="commit", git_sha="1a2b3c4d" * 5, version="0.1.0", numerics=1, tree="ab" * 8),
        head=Arm(spec="feature", kind="commit", git_sha="9f8e7d6c" * 5, version="0.1.0", numerics=1, tree="cd" * 8),
        device="cuda",
        gpu=GPU,
        policy=POLICY,
        rows=rows,
        canaries=tuple(
            CanaryVerdict(name=name, ratio=1.0004, low=0.999, high=1.002, pairs=6)
            for name in ("copy", "matvec", "empty_graph")
        ),
        parity=ParityBlock(checks=CHECKS),
        selftest=SelftestScore(caught=60, planted=62, missed=("stale graph buffer", "clock drift")),
        environment=machine(True, {}),
        started=STARTED,
        seconds=1020.0,
        pairs_spent=74,
        command="zeroulp gate main feature",
        exit_code=exit_code,
        headline=HEADLINES.get(exit_code, ""),
    )
    return msgspec.structs.replace(result, **changes)


WRONG = ParityBlock(
    checks=(ParityCheck(name="graph = direct", passed=95, failed=1, values=9_600_000, differing=41), *CHECKS[1:]),
    first_divergence="row 0: graph = direct, step 3, layer 7, attn_norm [0, 17]: 0.5 against 0.50000006, 1 ulp",
    reproduce="zeroulp diverge main feature --row 0000000000000000",
)


def passing() -> GateResult:
    return gate(*same(38), verdict("accepted", 40, reason="wider tiles, until 2027-01-01"))


def failing() -> GateResult:
    """One row slower, one faster, one that cannot be told, and a wrong bit."""
    moved = (verdict("slower", 50, clock_ratio=0.998), verdict("faster", 51), verdict("cannot_tell", 52))
    return gate(*same(34), *moved, verdict("wrong", 53), exit_code=1, parity=WRONG, notes=("one GPU: confirmed here",))


def unsure() -> GateResult:
    """The controls moved."""
    copy = CanaryVerdict(name="copy", ratio=1.02, low=1.015, high=1.025, pairs=6, moved=True, reason="2.0 % slower")
    rows = tuple(verdict("cannot_tell", place, confirmation="", reason="controls moved") for place in range(5))
    return gate(*rows, exit_code=3, canaries=(copy, *gate().canaries[1:]), selftest=None)
