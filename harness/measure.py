"""What a row is measured at: counts of one pass, and samples of decode and prefill."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.adapters.protocol import Counts, Engine, Timer
from harness.rules import Rules
from harness.sampling import Sampled, Take, sampled
from harness.schema import Shape, Spread

VERIFY_PASSES = 16  # of one sample


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`prefill`, `decode` and `verify` are None where time means nothing (an emulated device)."""

    shape: Shape
    run: int  # tokens of one sample of decode
    prefill: Sampled | None
    decode: Sampled | None
    verify: Sampled | None  # None where the shape has no such pass, too
    launches_per_token: float
    graph_kernels_per_token: float
    prefill_launches_per_token: float

    @property
    def prefill_tps(self) -> Spread | None:
        """Tokens a second, by the host's clock, logits of the last token in its memory."""
        return _spread(self.prefill, lambda take: 1e6 * self.shape.prompt / take.host_us)

    @property
    def decode_tps(self) -> Spread | None:
        """Tokens a second, by the host's clock, from one wait for the device to the next."""
        return _spread(self.decode, lambda take: 1e6 * self.run / take.host_us)

    @property
    def host_us_per_token(self) -> Spread | None:
        """Until the CPU has issued a decoded token."""
        return _spread(self.decode, lambda take: take.issue_us / self.run)

    @property
    def throttled(self) -> str:
        """One line if too many samples of any had to be thrown away, else empty."""
        return "; ".join(f"{name}: {item.throttled}" for name, item in self._phases if item and item.throttled)

    @property
    def warm_up(self) -> str:
        """One line if any did not become flat, else empty."""
        return "; ".join(f"{name}: {item.warm_up}" for name, item in self._phases if item and item.warm_up)

    @property
    def _phases(self) -> tuple[tuple[str, Sampled | None], ...]:
        return (("decode", self.decode), ("verify", self.verify), ("prefill", self.prefill))


def measure(
    engine: Engine,
    shape: Shape,
    tokens: NDArray[np.int64],
    *,
    rules: Rules,
    timer: Timer | None,
    warm_seconds: float = 0.0,
) -> Measured:
    """Count a pass, then warm up and sample by the rules. `tokens` holds depth + prompt ids.

    The pass is the prompt and `shape.generated` greedy tokens, chosen on the device; a graph that is captured is
    captured in it, so that no sample holds a capture. Without `timer` that is all. `warm_seconds`: at least so much of
    warm-up.
    """
    if len(tokens) != shape.depth + shape.prompt:
        raise ValueError(f"{len(tokens)} tokens for depth {shape.depth} and prompt {shape.prompt}")
    prefilled, decoded = _count(engine, shape, tokens)
    run = min(rules.run_tokens, shape.generated) or shape.generated
    prefill = decode = verify = None
    if timer is not None:
        decode = sampled(
            lambda: _decode(engine, shape, tokens, run, timer),
            rules,
            samples=rules.samples,
            warm_seconds=warm_seconds,
        )
        if shape.verify:
            verify = sampled(lambda: _verify(engine, shape, tokens, timer), rules, samples=rules.samples)
        prefill = sampled(lambda: _prefill(engine, shape, tokens, timer), rules, samples=rules.prefill_samples)
    return Measured(
        shape=shape,
        run=run,
        prefill=prefill,
        decode=decode,
        verify=verify,
        launches_per_token=_issued(decoded) / shape.generated,
        graph_kernels_per_token=decoded.graph_kernels / shape.generated,
        prefill_launches_per_token=_issued(prefilled) / shape.prompt,
    )


def _count(engine: Engine, shape: Shape, tokens: NDArray[np.int64]) -> tuple[Counts, Counts]:
    """Of the prompt and of the answer behind it. Every position of the row holds something afterwards."""
    engine.reset()
    if shape.depth:
        engine.prefill(tokens[: shape.depth])
    before = engine.counts()
    engine.prefill(tokens[shape.depth :])
    prefilled = engine.counts()
    _stand_at(engine, len(tokens), tokens)
    ready = engine.counts()
    engine.generate_more(shape.generated)
    engine.synchronize()
    return _difference(before, prefilled), _difference(ready, engine.counts())


def _decode(engine: Engine, shape: Shape, tokens: NDArray[np.int64], run: int, timer: Timer) -> Take:
    """`run` tokens in the middle of the answer; what stands before them is there from the pass that was counted.

    The first of them is whatever was chosen last: to choose one anew takes longer than the run.
    """
    engine.truncate(len(tokens) + (shape.generated - run) // 2)
    engine.synchronize()
    return timer.take(lambda: engine.generate_more(run))


def _verify(engine: Engine, shape: Shape, tokens: NDArray[np.int64], timer: Timer) -> Take:
    """VERIFY_PASSES over the same rows, in the middle of the answer as a run of decode is."""
    engine.truncate(len(tokens) + (shape.generated - shape.verify) // 2)
    engine.verify(np.resize(tokens, shape.verify))
    engine.synchronize()
    return timer.take(lambda: engine.verify_again(shape.verify, VERIFY_PASSES))


def _prefill(engine: Engine, shape: Shape, tokens: NDArray[np.int64], timer: Timer) -> Take:
    engine.truncate(shape.depth)
    engine.synchronize()

    def work() -> None:
        engine.prefill(tokens[shape.depth :])  # returns logits, so it ends when the device has

    return timer.take(work)


def _stand_at(engine: Engine, position: int, tokens: NDArray[np.int64]) -> None:
    """Choose, on the device, the token that the next greedy step appends at `position`."""
    engine.truncate(position - 1)
    engine.generate(tokens[-1:], 1)
    engine.synchronize()


def _spread(found: Sampled | None, figure: Callable[[Take], float]) -> Spread | None:
    return spread([figure(take) for take in found.kept]) if found is not None and found.kept else None


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
