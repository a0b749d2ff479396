"""What every measured row goes through: prove, measure, prove again, on a model that is loaded already."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.adapters.engine import LoadedModel, SessionEngine
from harness.adapters.oracle import cached_exact_logits
from harness.adapters.protocol import Logits
from harness.adapters.settings import BadInput, OutOfMemory
from harness.adapters.timing import Timing
from harness.adapters.vouched import Kept
from harness.check_id import check_id
from harness.check_names import AT_DEPTH
from harness.compare import Comparison, compare
from harness.errors import BadCall
from harness.measure import Measured, measure
from harness.proof import Oracle, ProofTokens, Prover, proof_tokens
from harness.rules import Rules
from harness.schema import Check, PlannedRow, Status, When
from harness.schema import Path as Engagement

WHOLE_ORACLE_BYTES = 64 * 2**20  # models up to this size are compared with the oracle whole
PROOF_PREFILL = 264  # tokens at most: past the border of an attention split at 256
PROOF_DECODE = 8


@dataclass(frozen=True, kw_only=True)
class Proven:
    """A row's figures between its two proofs."""

    key: str  # of the row
    measured: Measured
    proof: tuple[Check, ...]
    engaged: Mapping[str, Engagement]
    memory_bytes: int  # weights, buffers and KV cache
    spent: Mapping[str, float]  # seconds: "proof" (sessions opened for it included), "times"

    @property
    def verdict(self) -> tuple[Status, str]:
        """Status and one line: bits that differ come first, then a GPU that was slowed down, then one not at rest."""
        failed = next((check for check in self.proof if check.status == "failed"), None)
        if failed is not None:
            reason = f"{failed.name} ({failed.when}): {failed.reason}"
            return "parity_failed", f"{reason} [check {check_id(self.key, failed)}]"
        measured = self.measured
        return ("throttled", measured.throttled) if measured.throttled else ("ok", measured.warm_up)


def prove_and_measure(
    loaded: LoadedModel, timing: Timing, row: PlannedRow, *, cache: Path, rules: Rules, warm_seconds: float
) -> Proven:
    """A session of its own for the row; closed at the end, like those that it was compared with."""
    shape, begun = row.shape, time.perf_counter()
    with ExitStack() as stack:
        engine = loaded.engine(row.toggles, context=shape.context)
        stack.callback(engine.close)
        prover = _prover(loaded, engine, row, cache)
        before = prover.checks("before")
        ready = time.perf_counter()
        prompt = _prompt(row, loaded.model.spec.vocab)
        measured = measure(engine, shape, prompt, rules=rules, timer=timing.timer(engine), warm_seconds=warm_seconds)
        times = time.perf_counter() - ready
        deep = [prover.at_depth(len(prompt))] if shape.depth else []
        proof = (*before, *deep, *prover.checks("after"))
        return Proven(
            key=row.key,
            measured=measured,
            proof=proof,
            engaged=engine.engaged(),
            memory_bytes=loaded.memory_bytes() + engine.memory_bytes(),
            spent={"proof": time.perf_counter() - begun - times, "times": times},
        )


def prove_one(loaded: LoadedModel, row: PlannedRow, check: str, when: When, *, cache: Path) -> Check:
    """One check of a row alone. "after" comes behind one pass over the row's prompt and answer, which is not timed."""
    with ExitStack() as stack:
        engine = loaded.engine(row.toggles, context=row.shape.context)
        stack.callback(engine.close)
        prover = _prover(loaded, engine, row, cache, only=check)
        if when == "after":
            prompt = _prompt(row, loaded.model.spec.vocab)
            engine.generate(prompt, row.shape.generated)
            if check == AT_DEPTH:
                return prover.at_depth(len(prompt))
        (found,) = prover.checks(when)
        return found


def _prover(loaded: LoadedModel, engine: SessionEngine, row: PlannedRow, cache: Path, *, only: str = "") -> Prover:
    tokens = row_tokens(row, loaded.model.spec.vocab)
    return Prover(
        engine=engine,
        toggles=row.toggles,
        open_twin=lambda toggles: loaded.engine(toggles, context=row.shape.context),
        tokens=tokens,
        oracle=_oracle(row, loaded, tokens, cache, anew=bool(only)),
        has_pdl=engine.session.has_pdl,
        twins=loaded.twins,
        verify=row.shape.verify,
        only=only,
    )


def _prompt(row: PlannedRow, vocab: int) -> NDArray[np.int64]:
    """What is before the prompt, and the prompt: random, but the same for all rows of a shape."""
    shape = row.shape
    return np.random.default_rng([vocab, shape.prompt, shape.depth]).integers(0, vocab, shape.depth + shape.prompt)


def ending(error: Exception) -> tuple[Status, str]:
    """What becomes of a row that an error ended: its status and one line."""
    text = " ".join(str(error).split())
    if isinstance(error, OutOfMemory | MemoryError):
        return "out_of_memory", text or "the machine has not enough memory"
    if isinstance(error, BadInput | BadCall):
        return "error", text
    traceback.print_exception(error)
    return "error", f"{type(error).__name__}: {text}"


def row_tokens(row: PlannedRow, vocab: int) -> ProofTokens:
    """As long as the row's own prompt and answer, up to a length that every path can be compared at in seconds.

    Not fewer are decoded than the row verifies at once: all of those have to be compared.
    """
    decoded = min(row.shape.generated, max(PROOF_DECODE, row.shape.verify))
    prefilled = min(row.shape.prompt, PROOF_PREFILL, row.shape.context - decoded)
    return proof_tokens(vocab, prefilled=prefilled, decoded=decoded)


def _oracle(row: PlannedRow, loaded: LoadedModel, tokens: ProofTokens, cache: Path, *, anew: bool) -> Oracle:
    """`anew`: what the oracle answered an earlier process is not enough."""
    kv = str(row.toggles["kv"])

    def whole(logits: Logits) -> tuple[Comparison, str]:
        expected = cached_exact_logits(loaded.model, row.model.sha256, tokens.ids, kv=kv, cache=cache)
        return compare(logits, expected), f"exact form, whole model, kv {kv}"

    def sampled(logits: Logits) -> tuple[Comparison, str]:
        kept = None if anew else Kept(cache=cache, sha256=row.model.sha256)
        return loaded.sampled_parity(row.toggles, tokens.prefilled, tokens.decoded, logits, kept=kept)

    return whole if row.model.bytes <= WHOLE_ORACLE_BYTES else sampled
