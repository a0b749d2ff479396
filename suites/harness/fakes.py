"""An engine whose logits are a formula, so that a proof can be shown to pass and to fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from harness.adapters.protocol import Counts, Logits, Tokens
from harness.sampling import Take
from harness.schema import Path

VOCAB = 11


def formula(position: int, token: int) -> Logits:
    return np.sin(np.arange(VOCAB) * (position + 1) + token).astype(np.float32)


class FakeEngine:
    """Logits depend on position and token alone. `spoiled` are positions where one value is off by an ulp.

    It counts 10 direct launches a step, or a graph of 8 with 2 before it, as its toggles say; `engages` off makes it
    report that it did neither.
    """

    def __init__(
        self, toggles: Mapping[str, str | int], *, spoiled: frozenset[int] = frozenset(), engages: bool = True
    ) -> None:
        self.toggles = toggles
        self.spoiled = spoiled
        self.engages = engages
        self.length = 0
        self.launches = self.graph_launches = 0
        self.verified = self.again = 0  # rows of the last pass, and how often it was made again
        self.closed = False

    def prefill(self, tokens: Tokens, *, all_logits: bool = False) -> Logits:
        rows = np.stack([self._step(int(token)) for token in tokens])
        return rows if all_logits else rows[-1:]

    def decode(self, token: int) -> Logits:
        return self._step(token)

    def generate(self, tokens: Tokens, n: int) -> list[int]:
        self.prefill(tokens)
        self.generate_more(n - 1)
        return [0] * n

    def generate_more(self, n: int) -> None:
        for _ in range(n):
            self._step(0)

    def verify(self, tokens: Tokens) -> Logits:
        self.verified = len(tokens)
        return self.prefill(tokens, all_logits=True)

    def verify_again(self, rows: int, n: int) -> None:
        assert rows == self.verified
        self.again += n

    def reset(self) -> None:
        self.length = 0

    def truncate(self, length: int) -> None:
        assert length <= self.length
        self.length = length

    def synchronize(self) -> None:
        """Everything is done at once."""

    def counts(self) -> Counts:
        return Counts(launches=self.launches, graph_launches=self.graph_launches, graph_kernels=8 * self.graph_launches)

    def engaged(self) -> Mapping[str, Path]:
        graph = self.toggles["graph"] == "on"
        return {
            "graph": Path(
                asked=str(self.toggles["graph"]), engaged=graph and self.engages, reason="", detail="counted"
            ),
            "prefill": Path(asked=str(self.toggles["prefill"]), engaged=self.engages, detail="rows in steps"),
            "pdl": Path(asked=str(self.toggles["pdl"]), engaged=self.engages),
        }

    def memory_bytes(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def _step(self, token: int) -> Logits:
        logits = formula(self.length, token)
        if self.length in self.spoiled:
            logits[3] = np.nextafter(logits[3], np.float32(np.inf))
        self.length += 1
        if self.toggles["graph"] == "on":
            self.launches += 2
            self.graph_launches += 1
        else:
            self.launches += 10
        return logits


class FakeTimer:
    """Does the work of an engine and says that it took the next of `us`, over and over.

    Half of that is issuing, nine tenths are the device. `spans` are the positions before and behind each work.
    """

    def __init__(self, engine: FakeEngine, us: Sequence[float]) -> None:
        self._engine, self._us = engine, us
        self.spans: list[tuple[int, int]] = []

    def take(self, work: Callable[[], None]) -> Take:
        before = self._engine.length
        work()
        us = self._us[len(self.spans) % len(self._us)]
        self.spans.append((before, self._engine.length))
        return Take(device_us=0.9 * us, host_us=us, issue_us=us / 2)
