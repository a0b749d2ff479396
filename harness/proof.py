"""The parity proof of a row: the same logits computed in different ways, compared by bits, engagement asserted.

A token list is prefilled but for its last tokens, which are decoded one by one with the given ids, so that the
one-row path, and with it the graph, is part of every comparison. Logits of every position count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.adapters.protocol import Engine, Logits, Tokens
from harness.check_names import AT_DEPTH, ORACLE, PAIRS, VERIFIED
from harness.compare import Comparison, compare
from harness.schema import Check, Path, When

Toggles = Mapping[str, str | int]

NOTHING_FINITE = "no logit is finite: that they are equal shows nothing"

# From the engine's logits to their comparison with the oracle's, and what the oracle computed, in words.
Oracle = Callable[[Logits], tuple[Comparison, str]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What one side of a comparison computed, and what its engine says it did."""

    logits: Logits
    engaged: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class ProofTokens:
    """A fixed random token list; the last `tail` of them are decoded."""

    ids: NDArray[np.int64]
    tail: int

    @property
    def prefilled(self) -> NDArray[np.int64]:
        return self.ids[: len(self.ids) - self.tail]

    @property
    def decoded(self) -> list[int]:
        return [int(token) for token in self.ids[len(self.ids) - self.tail :]]


def proof_tokens(vocab: int, *, prefilled: int, decoded: int) -> ProofTokens:
    """Depends on the lengths and the vocabulary alone: all rows of a model prove themselves on the same list."""
    ids = np.random.default_rng([vocab, prefilled, decoded]).integers(0, vocab, prefilled + decoded)
    return ProofTokens(ids=ids, tail=decoded)


class Prover:
    """Compares a row's engine with its twins, which differ in one toggle each, and with the oracle's logits.

    `twins` keeps what twins computed of a token list, for other rows of the same model: a row that differs in its
    context alone has the same twins, and its own engine must get their bits.
    `verify`: rows of a pass that is compared with as many decoded tokens, the last of the list; 0: none.
    `only` is the name of the one check that is wanted, the others are not made.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        toggles: Toggles,
        open_twin: Callable[[Toggles], Engine],
        tokens: ProofTokens,
        oracle: Oracle,
        has_pdl: bool,
        twins: MutableMapping[object, Evidence] | None = None,
        verify: int = 0,
        only: str = "",
    ) -> None:
        self._engine = engine
        self._toggles = toggles
        self._tokens = tokens
        self._oracle = oracle
        self._pairs = [toggle for toggle, (_, _, name) in PAIRS.items() if only in ("", name)]
        self._with_oracle = only in ("", ORACLE)
        if verify > tokens.tail:
            raise ValueError(f"verify {verify}: the proof decodes {tokens.tail} tokens, more rows cannot be compared")
        self._verify = verify if only in ("", VERIFIED) else 0
        known: MutableMapping[object, Evidence] = {} if twins is None else twins
        self._twins = {
            toggle: self._twin(flipped(toggles, toggle), open_twin, known)
            for toggle in self._pairs
            if toggle != "pdl" or has_pdl
        }

    def checks(self, when: When) -> list[Check]:
        """All comparisons. The row's engine computes anew; its twins, which no timed loop touches, did so once."""
        own = _evidence(self._engine, self._tokens)
        found = [self._pair(toggle, own, when) for toggle in self._pairs]
        if self._verify:
            found.append(self._verified(own, when))
        if self._with_oracle:
            found.append(_oracle_check(own, *self._oracle(own.logits), when))
        return found

    def _twin(
        self, toggles: Toggles, open_twin: Callable[[Toggles], Engine], known: MutableMapping[object, Evidence]
    ) -> Evidence:
        asked = (tuple(sorted(toggles.items())), tuple(map(int, self._tokens.ids)), self._tokens.tail)
        if asked not in known:
            engine = open_twin(toggles)
            try:
                known[asked] = _evidence(engine, self._tokens)
            finally:
                engine.close()
        return known[asked]

    def _verified(self, own: Evidence, when: When) -> Check:
        """The last tokens once more, all in one pass instead of one after the other."""
        rows = self._verify
        decoded = Evidence(logits=own.logits[-rows:], engaged=own.engaged)
        return self._in_one_pass(VERIFIED, when, len(self._tokens.ids) - rows, self._tokens.ids[-rows:], decoded)

    def at_depth(self, position: int) -> Check:
        """Behind `position` tokens that the timed loop has left in the cache: some decoded, then all in one pass.

        The two take other kernels and other splits of the cache. To be called before `checks`, which starts anew.
        """
        tokens = self._tokens.decoded[: int(self._toggles["chunk"])]
        if len(tokens) < 2:
            reason = (
                "no pass can hold more than one row" if self._tokens.tail > 1 else "one token is decoded either way"
            )
            return Check(name=AT_DEPTH, when="after", status="not_applicable", reason=reason)
        self._engine.truncate(position)
        one_by_one = np.concatenate([self._engine.decode(token)[None] for token in tokens])
        decoded = Evidence(logits=one_by_one, engaged=dict(self._engine.engaged()))
        return self._in_one_pass(AT_DEPTH, "after", position, tokens, decoded)

    def _in_one_pass(self, name: str, when: When, position: int, tokens: Tokens, decoded: Evidence) -> Check:
        """`tokens` once more from `position` on, all at once, held against the same ones decoded."""
        self._engine.truncate(position)
        passed = Evidence(logits=self._engine.verify(tokens), engaged=dict(self._engine.engaged()))
        value = str(self._toggles["graph"])
        return judge(name, when, passed, decoded, toggle="graph", values=(value, value))

    def _pair(self, toggle: str, own: Evidence, when: When) -> Check:
        left_value, right_value, name = PAIRS[toggle]
        if toggle not in self._twins:
            return Check(name=name, when=when, status="not_applicable", reason="this device has no such launch")
        other = self._twins[toggle]
        left, right = (own, other) if self._toggles[toggle] == left_value else (other, own)
        check = judge(name, when, left, right, toggle=toggle, values=(left_value, right_value))
        if (
            toggle == "prefill"
            and check.differing == 0
            and min(int(self._toggles["chunk"]), len(self._tokens.prefilled)) == 1
        ):
            return Check(name=name, when=when, status="not_applicable", reason="no pass can hold more than one row")
        return check


def flipped(toggles: Toggles, name: str) -> dict[str, str | int]:
    """The same toggles with the other value of one of PAIRS."""
    left, right, _ = PAIRS[name]
    return {**toggles, name: right if toggles[name] == left else left}


def judge(name: str, when: When, left: Evidence, right: Evidence, *, toggle: str, values: tuple[str, str]) -> Check:
    """Compare two sides that stand for the two values of a toggle. One that did not take its path fails the check."""
    sides = [(value, side.engaged[toggle]) for value, side in zip(values, (left, right), strict=True)]
    result = compare(left.logits, right.logits)
    reasons = [text for value, path in sides if (text := not_as_asked(toggle, value, path))]
    if result.same and toggle == "pdl" and sides[0][1].engaged is None:
        return Check(name=name, when=when, status="not_applicable", reason=sides[0][1].reason)
    if result.same and not reasons and nothing_finite(left.logits):
        return Check(name=name, when=when, status="not_applicable", reason=NOTHING_FINITE)
    if not result.same:
        reasons.insert(
            0, f"{result.differing} of {result.values} values differ" if result.values else "nothing compared"
        )
    return Check(
        name=name,
        when=when,
        status="failed" if reasons else "passed",
        reason="; ".join(reasons),
        values=result.values,
        differing=result.differing,
        worst_ulp=result.worst_ulp,
        first_difference=result.first_difference,
        left=described(toggle, sides[0][1]),
        right=described(toggle, sides[1][1]),
    )


def nothing_finite(logits: Logits) -> bool:
    """Whether a NaN or an infinity somewhere in the model has drowned all that the sides could differ in."""
    return not np.isfinite(logits).any()


def not_as_asked(toggle: str, value: str, path: Path) -> str:
    """Empty if the side took the path it stands for, else why not. For graph, `engaged` means it was replayed."""
    expected = not (toggle == "graph" and value == "off")
    if path.asked == value and path.engaged is expected:
        return ""
    return f"{toggle} {value} did not engage: {path.reason or path.detail or 'no reason given'}"


def described(toggle: str, path: Path) -> str:
    state = {True: "engaged", False: "not engaged", None: "not applicable"}[path.engaged]
    return f"{toggle} {path.asked}: {state}, {path.detail}" if path.detail else f"{toggle} {path.asked}: {state}"


def _oracle_check(own: Evidence, result: Comparison, extent: str, when: When) -> Check:
    if result.same and nothing_finite(own.logits):
        return Check(name=ORACLE, when=when, status="not_applicable", reason=NOTHING_FINITE)
    return Check(
        name=ORACLE,
        when=when,
        status="passed" if result.same else "failed",
        reason="" if result.same else f"{result.differing} of {result.values} values differ",
        values=result.values,
        differing=result.differing,
        worst_ulp=result.worst_ulp,
        first_difference=result.first_difference,
        left="; ".join(described(name, path) for name, path in own.engaged.items()),
        right=extent,
    )


def _evidence(engine: Engine, tokens: ProofTokens) -> Evidence:
    engine.reset()
    rows = [engine.prefill(tokens.prefilled, all_logits=True)]
    rows += [engine.decode(token)[None] for token in tokens.decoded]
    return Evidence(logits=np.concatenate(rows), engaged=dict(engine.engaged()))
