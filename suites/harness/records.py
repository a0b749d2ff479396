"""Records for the tests of the harness."""

from __future__ import annotations

from harness.schema import Check, Environment, Metrics, ModelFacts, Path, Plan, PlannedRow, Row, Shape, Spread, Status

TIME = "2026-01-02T03:04:05Z"
TOGGLES: dict[str, str | int] = {"graph": "on", "kv": "f16", "chunk": 512}
SPREAD = Spread(median=2.0, min=1.0, max=3.0, samples=(1.0, 2.0, 3.0))
MODEL = ModelFacts(name="qwen3-tiny", quant="Q8_0", sha256="ab" * 32, bytes=123)
SHAPE = Shape(prompt=4, generated=2, context=8)


def row(key: str, *, status: Status = "ok", device: str = "host") -> Row:
    return Row(
        id=key,
        model=MODEL,
        shape=SHAPE,
        toggles=TOGGLES,
        device=device,
        status=status,
        metrics=Metrics(
            prefill_tps=None if device == "host" else SPREAD,
            decode_tps=None if device == "host" else SPREAD,
            launches_per_token=4,
            graph_kernels_per_token=40,
            prefill_launches_per_token=1.5,
            bytes_per_token=1000,
            operations_per_token=2000,
            prefill_bytes_per_token=100,
            prefill_operations_per_token=1900,
        ),
        proof=(
            Check(name="graph = direct", when="before", status="passed", values=10, worst_ulp=0, left="a", right="b"),
        ),
        engaged={"graph": Path(asked="on", engaged=True, detail="2 of 2")},
        environment="e",
        numerics=1,
        started=TIME,
        seconds=1.5,
    )


def planned(key: str) -> PlannedRow:
    return PlannedRow(id=key, model=MODEL, shape=SHAPE, toggles=TOGGLES, device="host")


def plan(*keys: str) -> Plan:
    return Plan(started=TIME, command="bench-allrows", rows=tuple(planned(key) for key in keys))


def environment() -> Environment:
    return Environment(
        id="e",
        machine="x86_64",
        os="Linux",
        cpu="a CPU",
        cores=2,
        memory_bytes=2**30,
        python="3.11",
        libraries={"numpy": "2.4"},
        version="0.1.0",
        numerics=1,
        compile_flags={"host": "-O2"},
        command="bench-allrows",
    )
