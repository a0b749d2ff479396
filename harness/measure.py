"""The timed loop of a row and the counts around it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.adapters.protocol import Counts, Engine
from harness.schema import Shape, Spread

WARM_SECONDS = 1.0  # a GPU needs about this long to raise its clocks


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One pass: prompt, then greedy tokens. Seconds of the whole prompt and of all tokens."""

    prefill_seconds: float
    decode_seconds: float
    issue_seconds: float  # until the CPU had issued all tokens
    prefill_counts: Counts
    decode_counts: Counts


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Spreads are None where time means nothing (an emulated device)."""

    prefill_tps: Spread | None
    decode_tps: Spread | None
    host_us_per_token: Spread | None
    launches_per_token: float
    graph_kernels_per_token: float
    prefill_launches_per_token: float


def measure(engine: Engine, shape: Shape, tokens: NDArray[np.int64], *, repeats: int, timed: bool) -> Measured:
    """Check, warm up, sample, summarise. `tokens` holds depth + prompt ids.

    Decode is `shape.generated` greedy steps, token and position chosen on the device, timed between two waits for the
    device; the first pass, in which a graph may be captured, is never part of the samples. Without `timed` one pass is
    counted, and there is nothing to warm up.
    """
    if len(tokens) != shape.depth + shape.prompt:
        raise ValueError(f"{len(tokens)} tokens for depth {shape.depth} and prompt {shape.prompt}")
    if timed:
        _warm_up(engine, shape, tokens)
    samples = [run_once(engine, shape, tokens) for _ in range(repeats if timed else 1)]
    return summarise(samples, shape, timed=timed)


def _warm_up(engine: Engine, shape: Shape, tokens: NDArray[np.int64]) -> None:
    start = time.perf_counter()
    run_once(engine, shape, tokens)
    while time.perf_counter() - start < WARM_SECONDS:
        run_once(engine, shape, tokens)


def run_once(engine: Engine, shape: Shape, tokens: NDArray[np.int64]) -> Repeat:
    depth, prompt = tokens[: shape.depth], tokens[shape.depth :]
    engine.reset()
    if len(depth):
        engine.prefill(depth)
    engine.synchronize()
    before = engine.counts()
    start = time.perf_counter()
    engine.prefill(prompt)  # returns logits, so it ends when the device has
    prefill_seconds = time.perf_counter() - start
    prefilled = engine.counts()
    engine.truncate(len(tokens) - 1)
    engine.generate(prompt[-1:], 1)  # puts the first choice of the device in place
    engine.synchronize()
    ready = engine.counts()
    start = time.perf_counter()
    engine.generate_more(shape.generated)
    issued = time.perf_counter()
    engine.synchronize()
    decode_seconds = time.perf_counter() - start
    return Repeat(
        prefill_seconds=prefill_seconds,
        decode_seconds=decode_seconds,
        issue_seconds=issued - start,
        prefill_counts=_difference(before, prefilled),
        decode_counts=_difference(ready, engine.counts()),
    )


def summarise(samples: Sequence[Repeat], shape: Shape, *, timed: bool) -> Measured:
    """Spreads over the repeats; counts of the last one (they do not vary)."""
    last = samples[-1]
    return Measured(
        prefill_tps=spread([shape.prompt / sample.prefill_seconds for sample in samples]) if timed else None,
        decode_tps=spread([shape.generated / sample.decode_seconds for sample in samples]) if timed else None,
        host_us_per_token=spread([1e6 * sample.issue_seconds / shape.generated for sample in samples])
        if timed
        else None,
        launches_per_token=_issued(last.decode_counts) / shape.generated,
        graph_kernels_per_token=last.decode_counts.graph_kernels / shape.generated,
        prefill_launches_per_token=_issued(last.prefill_counts) / shape.prompt,
    )


def spread(samples: Sequence[float]) -> Spread:
    return Spread(median=statistics.median(samples), min=min(samples), max=max(samples), samples=tuple(samples))


def _issued(counts: Counts) -> int:
    return counts.launches + counts.graph_launches


def _difference(before: Counts, after: Counts) -> Counts:
    return Counts(
        launches=after.launches - before.launches,
        graph_launches=after.graph_launches - before.graph_launches,
        graph_kernels=after.graph_kernels - before.graph_kernels,
    )
