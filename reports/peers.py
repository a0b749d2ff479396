"""Which stored figures of another program stand beside which of our rows, and whether their ratio says anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.schema import Gpu, Peer, Phase, Row, Spread
from harness.store import StoredRun


@dataclass(frozen=True, kw_only=True)
class Beside:
    """One phase of one row and the peer's figure for it. Positions count the tokens in the cache at the start."""

    row: Row
    peer: Peer
    phase: Phase
    ours: Spread
    theirs: Spread
    our_position: int
    why_not: str  # why the two are not comparable; empty if they are

    @property
    def ratio(self) -> float | None:
        """Our median over the peer's; None where that would say nothing."""
        return None if self.why_not else self.ours.median / self.theirs.median


def beside(run: StoredRun) -> tuple[Beside, ...]:
    """Every timed phase of every row with each figure that a peer has for its model, shape and KV type."""
    return tuple(pair for row in run.rows for peer in run.peers for pair in _pairs(row, peer, run.environment.gpu))


def _pairs(row: Row, peer: Peer, gpu: Gpu | None) -> Iterator[Beside]:
    if row.metrics is None or row.device == "host" or peer.status != "ok" or peer.tps is None or peer.phase is None:
        return
    if peer.model is None or (peer.model.sha256, peer.shape) != (row.model.sha256, row.shape):
        return
    ours = row.metrics.prefill_tps if peer.phase == "prefill" else row.metrics.decode_tps
    if ours is None or row.toggles.get("kv", peer.kv) != peer.kv:
        return
    yield Beside(
        row=row,
        peer=peer,
        phase=peer.phase,
        ours=ours,
        theirs=peer.tps,
        our_position=row.shape.depth + (row.shape.prompt if peer.phase == "decode" else 0),
        why_not=_why_not(peer, gpu),
    )


def _why_not(peer: Peer, gpu: Gpu | None) -> str:
    if gpu is None or gpu.name not in peer.gpu.split(", "):
        return "another GPU"
    return "" if peer.tps and peer.tps.median > 0 else "no speed"
