"""What the harness asks of an engine, whoever wrote it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from harness.sampling import Take
from harness.schema import Path

Tokens = Sequence[int] | NDArray[np.integer]
Logits = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Since the engine was made: what the CPU issued and what graphs ran."""

    launches: int  # kernels issued one by one
    graph_launches: int  # graphs replayed
    graph_kernels: int  # kernels run by those replays


class Engine(Protocol):
    """A conversation with a model. Logits are float32, one row for each token."""

    def prefill(self, tokens: Tokens, *, all_logits: bool = False) -> Logits:
        """Append tokens; logits (1, vocab) of the last one or (tokens, vocab) of each."""

    def decode(self, token: int) -> Logits:
        """Append one token; its logits (vocab,)."""

    def generate(self, tokens: Tokens, n: int) -> list[int]:
        """Append tokens, then n greedy ones, ties to the lowest id."""

    def generate_more(self, n: int) -> None:
        """n further greedy steps, nothing copied back."""

    def verify(self, tokens: Tokens) -> Logits:
        """Append a few tokens in one pass; their logits (tokens, vocab)."""

    def verify_again(self, rows: int, n: int) -> None:
        """The pass of the last `verify`, of so many rows, n times more; nothing copied back."""

    def reset(self) -> None: ...
    def truncate(self, length: int) -> None:
        """Forget all positions from `length` on. `generate_more` goes on there, with the token of the last step."""

    def synchronize(self) -> None:
        """Wait until everything that was issued is done."""

    def counts(self) -> Counts: ...
    def engaged(self) -> Mapping[str, Path]:
        """What became of each toggle, counted."""

    def memory_bytes(self) -> int: ...
    def close(self) -> None: ...


class Timer(Protocol):
    """Times work of one engine on the device's own clock."""

    def take(self, work: Callable[[], None]) -> Take:
        """Run `work`, which issues launches or replays, and wait for its end. The device is idle before."""
