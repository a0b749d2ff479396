"""Our engine behind the harness's protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from engine.device import Device
from engine.families import qwen3
from engine.session import Session
from engine.toggles import Toggles
from harness.adapters.devices import opened
from harness.adapters.protocol import Counts, Logits, Tokens
from harness.adapters.sampled import sampled_parity
from harness.adapters.vouched import Kept
from harness.compare import Comparison, compare
from harness.proof import Evidence
from harness.schema import Path as Engagement
from reference.spec.model import Model


class SessionEngine:
    """Implements protocol.Engine over engine.session.Session."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def prefill(self, tokens: Tokens, *, all_logits: bool = False) -> Logits:
        return self.session.prefill(tokens, all_logits=all_logits)

    def decode(self, token: int) -> Logits:
        return self.session.decode(token)

    def generate(self, tokens: Tokens, n: int) -> list[int]:
        return self.session.generate(tokens, n)

    def generate_more(self, n: int) -> None:
        self.session.generate_more(n)

    def verify(self, tokens: Tokens) -> Logits:
        return self.session.verify(tokens)

    def verify_again(self, rows: int, n: int) -> None:
        self.session.verify_again(rows, n)

    def reset(self) -> None:
        self.session.reset()

    def truncate(self, length: int) -> None:
        self.session.truncate(length)

    def synchronize(self) -> None:
        self.session.launches.synchronize()

    def counts(self) -> Counts:
        counters = self.session.counters
        return Counts(
            launches=counters.launches,
            graph_launches=counters.graph_launches,
            graph_kernels=counters.graph_kernels,
        )

    def engaged(self) -> Mapping[str, Engagement]:
        return {
            name: Engagement(asked=item.asked, engaged=item.engaged, reason=item.reason, detail=item.detail)
            for name, item in self.session.engaged().items()
        }

    def memory_bytes(self) -> int:
        return self.session.memory_bytes()

    def close(self) -> None:
        self.session.close()


class LoadedModel(AbstractContextManager["LoadedModel"]):
    """A model's weights on a device, shared by all the sessions that a proof compares."""

    def __init__(self, device: Device, model: Model) -> None:
        self.device = device
        self.model = model
        self.weights = qwen3.load(device, model)
        self.twins: dict[object, Evidence] = {}  # what the twins of its rows computed: harness.proof
        self._vouched: dict[object, tuple[Logits, tuple[Comparison, str]]] = {}

    def engine(self, toggles: Mapping[str, str | int], *, context: int, max_batch: int | None = None) -> SessionEngine:
        chosen = Toggles.from_mapping(toggles)
        return SessionEngine(Session(self.device, self.weights, context=context, toggles=chosen, max_batch=max_batch))

    def memory_bytes(self) -> int:
        return self.weights.memory_bytes

    def sampled_parity(
        self,
        toggles: Mapping[str, str | int],
        tokens: NDArray[np.int64],
        decoded: list[int],
        logits: Logits,
        *,
        kept: Kept | None,
    ) -> tuple[Comparison, str]:
        """Op by op against the oracle, in a session of its own: one batched pass, then one-row steps.

        `logits` of the row's engine, all positions, must be what that session got. Logits that were found the same are
        not checked again op by op: the same bits after the timed loop, or of a row whose session here is the same.
        """
        settings = {**toggles, "graph": "off", "prefill": "batched", "chunk": len(tokens)}
        asked = (tuple(sorted(settings.items())), tuple(map(int, tokens)), tuple(decoded))
        if asked in self._vouched and compare(logits, self._vouched[asked][0]).same:
            return self._vouched[asked][1]
        found = self._op_by_op(settings, tokens, decoded, logits, kept)
        if found[0].same:
            self._vouched[asked] = (logits.copy(), found)
        return found

    def _op_by_op(
        self,
        settings: Mapping[str, str | int],
        tokens: NDArray[np.int64],
        decoded: list[int],
        logits: Logits,
        kept: Kept | None,
    ) -> tuple[Comparison, str]:
        engine = self.engine(settings, context=len(tokens) + len(decoded))
        try:
            return sampled_parity(engine.session, self.model, tokens, decoded, logits, kept)
        finally:
            engine.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.weights.close()


@contextmanager
def running(device: str, cache: Path, model: Model, settings: Sequence[str], context: int) -> Iterator[SessionEngine]:
    """An engine on a device of its own; `settings` are `name=value` texts. Raises BadInput."""
    toggles = Toggles.parse(settings).as_dict()
    with opened(device, cache) as opened_device, LoadedModel(opened_device, model) as loaded:
        engine = loaded.engine(toggles, context=context)
        try:
            yield engine
        finally:
            engine.close()
