"""Engine against oracle where the whole oracle would take hours: every op of every layer on sampled rows, by bits.

The oracle's op gets what the engine's taps say went into it, so a difference shows at the op that made it.
Activation rows: first, last, and the edges of row tiles, and every decoded one. Matmul outputs: at least 64, first,
last and tile edges among them. Attention: the same rows, all heads, over keys and values rebuilt from the taps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer
from engine.families.qwen3 import no_tap
from engine.session import Session
from harness.compare import Comparison, compare, joined
from harness.errors import BadCall
from reference.forms import EXACT
from reference.spec.model import Model, Tensor
from reference.spec.rope_table import rope_table

Array = NDArray[np.float32]

OUTPUTS = 64  # sampled outputs of a matmul, edges included
TILE = 32  # output rows of a weight tile
ENDS = ("embedding", "output_norm", "logits")
IN_LAYER = (
    "attn_norm", "q", "k", "v", "q_norm", "k_norm", "q_rope", "k_rope", "attention", "attn_output", "attn_residual",
    "ffn_norm", "gate", "up", "swiglu", "down", "ffn_residual",
)  # fmt: skip
ROW_EDGES = (0, 15, 16, 63, 64)  # of the row tiles of the matmul and attention kernels


def sampled_parity(
    session: Session, model: Model, tokens: NDArray[np.int64], decoded: list[int], logits: Array
) -> tuple[Comparison, str]:
    """Prefill `tokens`, decode `decoded`, check each op of each step, and at the end `logits`.

    The session prefills them in one pass (its chunk and max_batch are that large) and runs without a graph meanwhile.
    `logits` (all positions, vocab) are what another session made of the same tokens: they must be this one's where
    this one has some, from the last prefilled token on. Without that, the oracle would vouch for this session alone.
    Raises BadCall if the session did not show every op of every step: then nobody would vouch for those.
    """
    checker = OpByOp(model, context=len(tokens) + len(decoded), kv=session.toggles.kv)
    session.reset()
    session.tap = checker.tap
    try:
        checker.begin(tokens, position=0)
        own = [session.prefill(tokens)]
        session.tap = checker.gather
        own += [session.decode(token)[None] for token in decoded]
    finally:
        session.tap = no_tap
    lacking = checker.lacking(steps=1 + len(decoded))
    if lacking:
        raise BadCall(f"the engine did not show {lacking} in every step: it cannot be compared with the oracle")
    checker.check_gathered(np.array(decoded), position=len(tokens))
    text = f"exact form, {len(checker.parts)} ops on sampled rows, {OUTPUTS} outputs of each matmul"
    linked = compare(logits[len(tokens) - 1 :], np.concatenate(own))
    return joined([*checker.parts, ("logits of the row against those of the checked ops:", linked)]), text


class OpByOp:
    """Is called with each tap in order; compares it with the oracle's op on the taps before it."""

    def __init__(self, model: Model, *, context: int, kv: str) -> None:
        spec = model.spec
        shape = (spec.layers, 2, spec.kv_heads, context, spec.head_dim)
        self.parts: list[tuple[str, Comparison]] = []
        self._shown: Counter[tuple[str, int]] = Counter()
        self._gathered: dict[tuple[str, int], list[Array]] = {}
        self._model = model
        self._cache = np.zeros(shape, np.float32 if kv == "f32" else np.float16)
        self._cos, self._sin = rope_table(spec.rope, context)
        self._scale = np.float32(1.0 / np.sqrt(np.float64(spec.head_dim)))
        self._seen: dict[str, Array] = {}
        self._residual = np.zeros((0, 0), np.float32)
        self._tokens: NDArray[np.int64] = np.zeros(0, np.int64)
        self._position = 0
        self._sampled: NDArray[np.int64] = np.zeros(0, np.int64)

    def begin(self, tokens: NDArray[np.int64], *, position: int, every: bool = False) -> None:
        """The next step has these tokens, the first at `position`; with `every` all its rows are checked."""
        self._tokens, self._position = tokens, position
        rows = len(tokens)
        edges = [row for row in (*ROW_EDGES, rows - 1) if row < rows]
        self._sampled = np.arange(rows) if every else np.unique(edges)

    def lacking(self, *, steps: int) -> str:
        """The first op that was not shown once in each of so many steps, in words; empty if there is none."""
        layers = range(self._model.spec.layers)
        owed = [*((name, -1) for name in ENDS), *((name, layer) for layer in layers for name in IN_LAYER)]
        return next((f"{name}, layer {layer}," for name, layer in owed if self._shown[name, layer] != steps), "")

    def tap(self, name: str, layer: int, buffer: Buffer) -> None:
        self._shown[name, layer] += 1
        self._check(name, layer, _rows(buffer))

    def gather(self, name: str, layer: int, buffer: Buffer) -> None:
        """A tap of a step of one row, to be checked with those of the steps behind it: a call costs more than a row."""
        self._shown[name, layer] += 1
        self._gathered.setdefault((name, layer), []).append(_rows(buffer))

    def check_gathered(self, tokens: NDArray[np.int64], *, position: int) -> None:
        """The gathered steps of these tokens as one of as many rows: the oracle's rows do not depend on each other."""
        self.begin(tokens, position=position, every=True)
        for (name, layer), rows in self._gathered.items():
            self._check(name, layer, np.concatenate(rows))

    def _check(self, name: str, layer: int, value: Array) -> None:
        if name == "output_norm":  # the head runs on the last rows only
            self._residual = self._residual[-len(value) :]
            self._sampled = np.arange(len(value))
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
            case "attn_norm" | "ffn_norm":
                return rows, self._norm(self._residual, f"blk.{layer}.{name}.weight")
            case "output_norm":
                return rows, self._norm(self._residual, "output_norm.weight")
            case "q" | "k" | "v":
                return self._projection(rows, "attn_norm", f"blk.{layer}.attn_{name}")
            case "attn_output":
                return self._projection(rows, "attention", f"blk.{layer}.attn_output")
            case "gate" | "up":
                return self._projection(rows, "ffn_norm", f"blk.{layer}.ffn_{name}")
            case "down":
                return self._projection(rows, "swiglu", f"blk.{layer}.ffn_down")
            case "logits":
                return self._matmul(rows, "output_norm", self._model.head(), None)
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

    def _norm(self, x: Array, weight: str) -> Array:
        eps = self._model.spec.eps
        return EXACT.rms_norm(x[self._sampled], self._model.tensor(weight).float32(), eps=eps)

    def _projection(self, rows: Array, source: str, name: str) -> tuple[Array, Array]:
        bias = self._model.tensor(f"{name}.bias").float32() if f"{name}.bias" in self._model.file.tensors else None
        return self._matmul(rows, source, self._model.tensor(f"{name}.weight"), bias)

    def _matmul(self, rows: Array, source: str, weight: Tensor, bias: Array | None) -> tuple[Array, Array]:
        outputs = sampled_outputs(weight.shape[0], weight.name)
        part = replace(weight, shape=(len(outputs), weight.shape[1]), data=weight.data[outputs])
        product = EXACT.matmul(EXACT.activations(self._input(source), part), part)
        return rows[:, outputs], product if bias is None else EXACT.add(product, bias[outputs])

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


def _rows(buffer: Buffer) -> Array:
    value = np.asarray(buffer.read(), np.float32)
    return value.reshape(len(value), -1)


def sampled_outputs(outputs: int, name: str) -> NDArray[np.int64]:
    """Sorted: the first and last tile's edges, the border of a tile in the middle, and seeded others up to OUTPUTS."""
    if outputs <= OUTPUTS:
        return np.arange(outputs)
    middle = outputs // 2 // TILE * TILE
    edges = {0, TILE - 1, TILE, middle - 1, middle, outputs - TILE, outputs - 1}
    others = np.random.default_rng([outputs, *name.encode()]).permutation(outputs)
    picked = list(dict.fromkeys([*sorted(edges), *(int(i) for i in others)]))[:OUTPUTS]
    return np.sort(np.array(picked))
