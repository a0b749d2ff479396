"""Engine against oracle where the whole oracle would take hours: every op of every layer on sampled rows, by bits.

The oracle's op gets what the engine's taps say went into it, so a difference shows at the op that made it.
Activation rows: first, last, and the edges of row tiles, and every decoded one. Matmul outputs: at least 64, first,
last and tile edges among them. Attention: the same rows, all heads, over keys and values rebuilt from the taps.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.families.qwen3 import no_tap
from engine.session import Session
from harness.adapters.shown import Array, Shown
from harness.adapters.vouched import Kept, Vouched
from harness.compare import Comparison, compare, joined
from harness.errors import BadCall
from reference.forms import EXACT
from reference.ops.activations import Activations, activations
from reference.spec.model import Model, Tensor
from reference.spec.rope_table import rope_table

OUTPUTS = 64  # sampled outputs of a matmul, edges included
TILE = 32  # output rows of a weight tile
LINK = "logits of the row against those of the checked ops:"


def sampled_parity(
    session: Session,
    model: Model,
    tokens: NDArray[np.int64],
    decoded: list[int],
    logits: Array,
    kept: Kept | None = None,
) -> tuple[Comparison, str]:
    """Prefill `tokens`, decode `decoded`, check each op of each step, and at the end `logits`.

    The session prefills them in one pass (its chunk and max_batch are that large) and runs without a graph meanwhile.
    `logits` (all positions, vocab) are what another session made of the same tokens: they must be this one's where
    this one has some, from the last prefilled token on. Without that, the oracle would vouch for this session alone.
    What `kept` holds of exactly the values that the session shows stands for the oracle's answer.
    Raises BadCall if the session did not show every op of every step: then nobody would vouch for those.
    """
    ids, kv = np.concatenate([tokens, np.array(decoded, np.int64)]), session.toggles.kv
    extent = f"on sampled rows, {OUTPUTS} outputs of each matmul"
    if kept is not None:
        shown = Shown(model.spec.layers)
        own = _run(session, shown, tokens, decoded)
        vouched = kept.read(shown.digest, ids, kv)
        if vouched is not None:
            before = Comparison(values=vouched.values, differing=0, worst_ulp=0, first_difference="")
            text = f"exact form, {vouched.ops} ops {extent}; it was asked about these values before"
            return joined([("", before), (LINK, compare(logits[len(tokens) - 1 :], own))]), text
    checker = OpByOp(model, context=len(ids), kv=kv)
    own = _run(session, checker, tokens, decoded)
    checker.check_gathered(np.array(decoded), position=len(tokens))
    found = joined(checker.parts)
    if kept is not None and found.same:
        kept.write(checker.digest, ids, kv, Vouched(ops=len(checker.parts), values=found.values))
    linked = compare(logits[len(tokens) - 1 :], own)
    return joined([*checker.parts, (LINK, linked)]), f"exact form, {len(checker.parts)} ops {extent}"


def _run(session: Session, shown: Shown, tokens: NDArray[np.int64], decoded: list[int]) -> Array:
    """The session's logits from the last prefilled token on."""
    session.reset()
    session.tap = shown.tap
    try:
        shown.begin(tokens, position=0)
        own = [session.prefill(tokens)]
        for i, token in enumerate(decoded):
            shown.begin(np.array([token]), position=len(tokens) + i)
            own.append(session.decode(token)[None])
    finally:
        session.tap = no_tap
    lacking = shown.lacking(steps=1 + len(decoded))
    if lacking:
        raise BadCall(f"the engine did not show {lacking} in every step: it cannot be compared with the oracle")
    return np.concatenate(own)


class OpByOp(Shown):
    """Compares each tap with the oracle's op on the taps before it; those of decoded tokens at the end, together."""

    def __init__(self, model: Model, *, context: int, kv: str) -> None:
        spec = model.spec
        super().__init__(spec.layers)
        shape = (spec.layers, 2, spec.kv_heads, context, spec.head_dim)
        self.parts: list[tuple[str, Comparison]] = []
        self._gathered: dict[tuple[str, int], list[Array]] = {}
        self._model = model
        self._cache = np.zeros(shape, np.float32 if kv == "f32" else np.float16)
        self._cos, self._sin = rope_table(spec.rope, context)
        self._scale = np.float32(1.0 / np.sqrt(np.float64(spec.head_dim)))
        self._seen: dict[str, Array] = {}
        self._residual = np.zeros((0, 0), np.float32)

    def look(self, name: str, layer: int, value: Array) -> None:
        """Behind the first pass a step has one row, checked with those of the others: a call costs more than a row."""
        if self._position == 0:
            self._check(name, layer, value)
        else:
            self._gathered.setdefault((name, layer), []).append(value)

    def check_gathered(self, tokens: NDArray[np.int64], *, position: int) -> None:
        """The gathered steps of these tokens as one of as many rows: the oracle's rows do not depend on each other."""
        self.begin(tokens, position=position)
        self._sampled = np.arange(len(tokens))
        for (name, layer), rows in self._gathered.items():
            self._check(name, layer, np.concatenate(rows))

    def _check(self, name: str, layer: int, value: Array) -> None:
        if name == "output_norm":  # the head runs on the last rows only
            self._residual = self._residual[-len(value) :]
        got, expected = self._both(name, layer, value)
        self.parts.append((f"{name}, layer {layer}, position {self._position}:", compare(got, expected)))
        self._seen[name] = value
        if name in ("embedding", "attn_residual", "ffn_residual"):
            self._residual = value

    def _both(self, name: str, layer: int, value: Array) -> tuple[Array, Array]:
        """What the engine has at the sampled places of this tap, and what the oracle has there."""
        rows = value[self._sampled]
        match name:
            case "embedding":
                return rows, EXACT.embedding(self._tokens[self._sampled], self._model.tensor("token_embd.weight"))
            case "attn_norm" | "ffn_norm" | "output_norm":
                x, weight = self._normed(name, layer)
                return rows, EXACT.rms_norm(x, weight, eps=self._model.spec.eps)
            case "q" | "k" | "v":
                return self._projection(rows, "attn_norm", layer, f"attn_{name}")
            case "attn_output":
                return self._projection(rows, "attention", layer, name)
            case "gate" | "up":
                return self._projection(rows, "ffn_norm", layer, f"ffn_{name}")
            case "down":
                return self._projection(rows, "swiglu", layer, "ffn_down")
            case "logits":
                return self._matmul(rows, "output_norm", layer, self._model.head(), None)
            case "q_norm" | "k_norm":
                return rows, self._head_norm(name, layer)
            case "q_rope" | "k_rope":
                return rows, self._rope(name)
            case "attention":
                return rows, self._attention(layer)
            case "swiglu":
                return rows, EXACT.swiglu(self._input("gate"), self._input("up"))
            case "attn_residual":
                return rows, EXACT.add(self._residual[self._sampled], self._input("attn_output"))
            case "ffn_residual":
                return rows, EXACT.add(self._residual[self._sampled], self._input("down"))
        raise KeyError(f"tap {name!r} has no op")

    def _input(self, name: str) -> Array:
        return self._seen[name][self._sampled]

    def _normed(self, name: str, layer: int) -> tuple[Array, Array]:
        """What goes into the norm of this tap, and its weight."""
        tensor = f"{name}.weight" if layer < 0 else f"blk.{layer}.{name}.weight"
        return self._residual[self._sampled], self._model.tensor(tensor).float32()

    def _projection(self, rows: Array, source: str, layer: int, name: str) -> tuple[Array, Array]:
        name = f"blk.{layer}.{name}"
        bias = self._model.tensor(f"{name}.bias").float32() if f"{name}.bias" in self._model.file.tensors else None
        return self._matmul(rows, source, layer, self._model.tensor(f"{name}.weight"), bias)

    def _matmul(self, rows: Array, source: str, layer: int, weight: Tensor, bias: Array | None) -> tuple[Array, Array]:
        outputs = sampled_outputs(weight.shape[0], weight.name)
        part = replace(weight, shape=(len(outputs), weight.shape[1]), data=weight.data[outputs])
        product = EXACT.matmul(self._activations(source, layer, part), part)
        return rows[:, outputs], product if bias is None else EXACT.add(product, bias[outputs])

    def _activations(self, source: str, layer: int, weight: Tensor) -> Activations:
        """The 8-bit form of a normed input is made of what goes into the norm, which the norm's tap stands behind."""
        values = self._input(source)
        if not source.endswith("_norm"):
            return EXACT.activations(values, weight)
        x, gain = self._normed(source, layer)
        eps = self._model.spec.eps
        return activations(values, (weight,), quantized=lambda: EXACT.rms_norm_quantize(x, gain, eps=eps))

    def _head_norm(self, name: str, layer: int) -> Array:
        spec = self._model.spec
        heads = self._heads(self._input(name[0]))
        normed = EXACT.qk_norm(heads, self._model.tensor(f"blk.{layer}.attn_{name}.weight").float32(), eps=spec.eps)
        return normed.reshape(len(heads), -1)

    def _rope(self, name: str) -> Array:
        heads = self._heads(self._input(f"{name[0]}_norm"))
        turned = [
            EXACT.rope(heads[i : i + 1], self._cos, self._sin, self._position + int(row))
            for i, row in enumerate(self._sampled)
        ]
        return np.concatenate(turned).reshape(len(heads), -1)

    def _attention(self, layer: int) -> Array:
        keys, values = self._cache[layer]
        k, v = self._heads(self._seen["k_rope"]), self._heads(self._seen["v"])
        EXACT.kv_append(k, v, self._position, keys=keys, values=values)
        q = self._heads(self._input("q_rope"))
        if len(self._sampled) == len(self._tokens):
            return EXACT.attention(q, keys, values, self._position, scale=self._scale).reshape(len(q), -1)
        rows = [
            EXACT.attention(q[i : i + 1], keys, values, self._position + int(row), scale=self._scale)
            for i, row in enumerate(self._sampled)
        ]
        return np.concatenate(rows).reshape(len(q), -1)

    def _heads(self, value: Array) -> Array:
        return value.reshape(len(value), -1, self._model.spec.head_dim)


def sampled_outputs(outputs: int, name: str) -> NDArray[np.int64]:
    """Sorted: the first and last tile's edges, the border of a tile in the middle, and seeded others up to OUTPUTS."""
    if outputs <= OUTPUTS:
        return np.arange(outputs)
    middle = outputs // 2 // TILE * TILE
    edges = {0, TILE - 1, TILE, middle - 1, middle, outputs - TILE, outputs - 1}
    others = np.random.default_rng([outputs, *name.encode()]).permutation(outputs)
    picked = list(dict.fromkeys([*sorted(edges), *(int(i) for i in others)]))[:OUTPUTS]
    return np.sort(np.array(picked))
