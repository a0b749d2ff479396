"""Profiles as `zeroulp bench kernels` stores them, with figures that follow from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.profile import KernelRow, Profile, write_profiles
from harness.schema import Ceiling, ModelFacts, Spread
from harness.store import ENVIRONMENT, write_record
from suites.reports.stored_runs import CEILINGS, READ, STARTED, machine

MODEL = ModelFacts(name="qwen3-8b", quant="Q4_K_M", sha256="0" * 64, bytes=5_000_000_000)
FLOAT32 = Ceiling(name="fp32_fma", unit="TOP/s", median=60.6, min=60.3, max=60.7, samples=50)
LONG = "fused_rms_norm_quantize_matmul_q4_k_matvec_and_everything_else_that_there_is"


def kernel_row(number: int, *, us: float, share: float, name: str = "", shape: str = "", rows: int = 1) -> KernelRow:
    """36 calls that read what the read ceiling moves in `share` percent of their time."""
    moved = 36 * us * 1e-6 * READ * share / 100
    return KernelRow(
        kernel=name or f"matmul_q4_k_matvec_{number}",
        module="matmul_q4_k",
        shape=shape or f"1 x {1024 * (number + 1)} x 4096 Q4_K",
        weights=("ffn_gate", "ffn_up") if number % 2 else ("attn_q",),
        calls=36,
        grid=128,
        block=256,
        shared=0,
        us=spread(us),
        weight_bytes=moved,
        kv_bytes=0.0,
        operations=3.5 * moved * rows,
        roof="read",
        percent_of_roof=share,
    )


def profile(kernels: int, *, rows: int = 1, seed: int = 1, long: bool = False, faster: float = 1.0) -> Profile:
    """A step of `kernels` different kernels; `faster` divides every time."""
    random = np.random.default_rng([kernels, rows, seed])
    times = np.sort(random.gamma(1.0, 20.0, kernels) + 0.5)[::-1] / faster
    made = tuple(
        kernel_row(
            number,
            us=float(us),
            share=float(random.uniform(20, 90)),
            name=f"{LONG}_{number}" if long else "",
            rows=rows,
            shape="512 x 151936 x 4096 Q4_K + 512 x 12288 x 4096 Q6_K" if long else "",
        )
        for number, us in enumerate(times)
    )
    return of_kernels(made, rows=rows)


def of_kernels(made: Sequence[KernelRow], *, rows: int = 1, gaps: float = 120.0) -> Profile:
    return Profile(
        model=MODEL,
        rows=rows,
        position=128,
        context=193,
        toggles={"graph": "on", "kv": "f16"},
        device="cuda",
        environment="env0",
        numerics=1,
        started=STARTED,
        step_us=spread(sum(row.step_us for row in made) + gaps),
        empty_us=1.02,
        model_bytes=sum(row.bytes for row in made),
        kernels=tuple(made),
    )


def spread(median: float) -> Spread:
    samples = tuple(median * factor for factor in (0.98, 1.0, 1.03))
    return Spread(median=median, min=samples[0], max=samples[-1], samples=samples)


def write_profile_run(folder: Path, *profiles: Profile) -> Path:
    folder.mkdir(parents=True)
    write_record(
        folder / ENVIRONMENT,
        machine(True, {"command": "zeroulp bench kernels qwen3-8b:Q4_K_M", "ceilings": (*CEILINGS, FLOAT32)}),
    )
    write_profiles(folder, profiles)
    return folder
