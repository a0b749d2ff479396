"""Run folders as bench-allrows leaves them, with figures that follow from the row alone."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import Any

import msgspec

from harness.schema import (
    Ceiling,
    Check,
    Environment,
    Gpu,
    Metrics,
    ModelFacts,
    Path,
    Peer,
    Phase,
    Plan,
    PlannedRow,
    Row,
    Shape,
    Spread,
    When,
)
from harness.store import ENVIRONMENT, PLAN, RowWriter, append_peers, write_record

VALUES = 28 * 512  # logits of one comparison
CHECKS = ("graph = direct", "batched = sequential", "engine = oracle")
BOTH: tuple[When, ...] = ("before", "after")
STARTED = "2026-01-02T03:04:05Z"
COMMAND = "bench-allrows --seed 7"
SIZES = {"Q8_0": 8.5, "Q4_K_M": 4.9, "F16": 16.0}  # bits per weight
PARAMETERS = {"qwen3-tiny": 1.5e6, "qwen3-0.6b": 0.6e9, "qwen3-8b": 8.2e9}
READ, INT8 = 4.69e12, 1.236e15  # per second

CEILINGS = (
    Ceiling(name="read", unit="GB/s", median=4690.0, min=4650.0, max=4702.0, samples=50),
    Ceiling(name="int8_mma", unit="TOP/s", median=1236.0, min=1220.0, max=1238.0, samples=50),
    Ceiling(name="graph_node", unit="us", median=1.02, min=1.0, max=1.1, samples=50),
)
GPU = Gpu(
    name="NVIDIA H200",
    uuid="GPU-0",
    compute_capability="9.0",
    multiprocessors=132,
    memory_bytes=150_000_000_000,
    driver="580.159",
    cuda="13.0",
)


def planned(
    models: Sequence[str] = ("qwen3-tiny",),
    quants: Sequence[str] = ("Q8_0", "Q4_K_M", "F16"),
    contexts: Sequence[int] = (64, 320),
    kvs: Sequence[str] = ("f16", "f32"),
    device: str = "host",
) -> tuple[PlannedRow, ...]:
    """Every combination with graph on, off and both prefills."""
    axes = itertools.product(models, quants, contexts, kvs, ("on", "off"), ("batched", "sequential"))
    return tuple(
        PlannedRow(
            id=f"{number:012x}",
            model=ModelFacts(name=model, quant=quant, sha256=f"{model} {quant}".encode().hex()[:64], bytes=1_000_000),
            shape=Shape(prompt=context * 3 // 4, generated=4, context=context),
            toggles={"graph": graph, "pdl": "on", "prefill": prefill, "chunk": 128, "kv": kv, "matmul": "auto"},
            device=device,
        )
        for number, (model, quant, context, kv, graph, prefill) in enumerate(axes, start=1)
    )


def ok(plan: PlannedRow, **changes: Any) -> Row:
    """A row that is proven, with speeds if its device has any."""
    row = Row(
        id=plan.id,
        model=plan.model,
        shape=plan.shape,
        toggles=plan.toggles,
        device=plan.device,
        status="ok",
        metrics=metrics(plan),
        proof=(*(passed(name, when) for when in BOTH for name in CHECKS), no_pdl(plan)),
        engaged=engaged(plan),
        environment="env0",
        numerics=1,
        started=STARTED,
        seconds=2.5,
    )
    return msgspec.structs.replace(row, **changes)


def passed(name: str, when: When) -> Check:
    return Check(name=name, when=when, status="passed", values=VALUES)


def differing(
    name: str, when: When, *, values: int = 3, ulp: int | None = 2, first: str = "[4, 17]: 1 against 2"
) -> Check:
    return Check(
        name=name,
        when=when,
        status="failed",
        reason=f"{values} of {VALUES} values differ",
        values=VALUES,
        differing=values,
        worst_ulp=ulp,
        first_difference=first,
        left="graph on: engaged",
        right="graph off: not engaged",
    )


def no_pdl(plan: PlannedRow) -> Check:
    if plan.device == "host":
        return Check(
            name="pdl = no pdl", when="before", status="not_applicable", reason="this device has no such launch"
        )
    return passed("pdl = no pdl", "before")


def bad(plan: PlannedRow, status: str, reason: str) -> Row:
    """A row that ended early: neither figures nor proof."""
    return ok(plan, status=status, reason=reason, metrics=None, proof=(), engaged={})


def metrics(plan: PlannedRow) -> Metrics:
    weights = PARAMETERS.get(plan.model.name, 1e6)
    size = weights * SIZES.get(plan.model.quant, 8.0) / 8
    kv = plan.shape.context * (200 if plan.toggles.get("kv") == "f16" else 400)
    graph, batched = plan.toggles.get("graph") == "on", plan.toggles.get("prefill") == "batched"
    rows = plan.shape.prompt if batched else 1
    decode = 0.6 * READ / (size + kv) * (1.0 if graph else 0.7)
    prefill = min(0.4 * INT8 / (2 * weights + 2 * plan.shape.context * 1000), 0.5 * READ / (size / rows + kv))
    timed = plan.device == "cuda"
    return Metrics(
        prefill_tps=spread(prefill) if timed else None,
        decode_tps=spread(decode) if timed else None,
        host_us_per_token=spread(6.0 if graph else 900.0) if timed else None,
        launches_per_token=1.0 if graph else 61.0,
        graph_kernels_per_token=61.0 if graph else 0.0,
        prefill_launches_per_token=61.0 / rows,
        bytes_per_token=size + kv,
        operations_per_token=2 * weights + 4 * plan.shape.context * 1000,
        prefill_bytes_per_token=size / rows + kv,
        prefill_operations_per_token=2 * weights + 2 * plan.shape.context * 1000,
        percent_of_read_ceiling=100 * (size + kv) * decode / READ if timed else None,
        memory_bytes=int(size + kv),
    )


def spread(median: float) -> Spread:
    samples = tuple(median * factor for factor in (0.97, 0.99, 1.0, 1.01, 1.02))
    return Spread(median=median, min=samples[0], max=samples[-1], samples=samples)


def engaged(plan: PlannedRow) -> dict[str, Path]:
    graph = str(plan.toggles.get("graph"))
    pdl = None if plan.device == "host" else True
    return {
        "graph": Path(
            asked=graph, engaged=graph == "on", reason="" if graph == "on" else "switched off", detail="4 of 4 steps"
        ),
        "pdl": Path(asked="on", engaged=pdl, reason="" if pdl else "the host has no such launch"),
    }


def write_run(
    folder: File,
    rows: Sequence[Row],
    *,
    plan: Sequence[PlannedRow] | None = None,
    environment: Mapping[str, Any] | None = None,
    peers: Sequence[Peer] = (),
    tail: bytes = b"",
) -> File:
    """A run folder with these rows; `plan` is what they were to be, `tail` goes behind the last line of rows.jsonl."""
    folder.mkdir(parents=True)
    if plan is None:
        plan = [PlannedRow(id=r.id, model=r.model, shape=r.shape, toggles=r.toggles, device=r.device) for r in rows]
    write_record(folder / PLAN, Plan(started=STARTED, command=COMMAND, rows=tuple(plan)))
    write_record(folder / ENVIRONMENT, machine(any(row.device == "cuda" for row in rows), environment or {}))
    writer = RowWriter(folder)
    for row in rows:
        writer.append(row)
    writer.close()
    append_peers(folder, peers)
    if tail:
        with (folder / "rows.jsonl").open("ab") as file:
            file.write(tail)
    return folder


def machine(has_gpu: bool, changes: Mapping[str, Any]) -> Environment:
    environment = Environment(
        id="env0",
        machine="testbed",
        os="Linux 6.1",
        cpu="Some CPU",
        cores=2,
        memory_bytes=8_000_000_000,
        gpu=GPU if has_gpu else None,
        python="3.11.7",
        libraries={"numpy": "2.2.0", "msgspec": "0.19.0"},
        git_commit="0123abc",
        version="0.1.0",
        numerics=1,
        compile_flags={"host": "-O2 -ffp-contract=off"},
        command=COMMAND,
        ceilings=CEILINGS if has_gpu else (),
    )
    return msgspec.structs.replace(environment, **changes)


def peer(plan: PlannedRow, phase: Phase, **changes: Any) -> Peer:
    """What a peer measured beside a row: 200 tokens/s decode, 4000 prefill, from the row's own positions."""
    peer = Peer(
        id=f"{plan.id} {phase}",
        program="llama-bench",
        source="/opt/llama-bench",
        status="ok",
        model=plan.model,
        shape=plan.shape,
        phase=phase,
        position=plan.shape.depth + (plan.shape.prompt if phase == "decode" else 0),
        tps=spread(4000.0 if phase == "prefill" else 200.0),
        label="qwen3 8B Q4_K - Medium",
        build="0c1e570 (6789)",
        gpu=GPU.name,
        kv="f16",
        flags={"n_batch": 2048, "flash_attn": 1, "type_k": "f16"},
        command=f"/opt/llama-bench -p {plan.shape.prompt} -o json",
        started=STARTED,
    )
    return msgspec.structs.replace(peer, **changes)
