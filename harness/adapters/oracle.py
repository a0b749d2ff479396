"""The oracle's logits of a token list, kept on disk by everything that decides them."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.adapters.protocol import Logits, Tokens
from harness.code_hash import code_hash
from harness.locks import locked
from harness.store import write_atomically
from reference.families import qwen3
from reference.forms import EXACT, IDEAL
from reference.spec.errors import BadInput
from reference.spec.model import Model

ORACLE_CODE = ("reference",)


def checked_tokens(model: Model, tokens: Tokens, *, more: int = 0) -> NDArray[np.int64]:
    """As an array. Raises BadInput for none at all, one outside the vocabulary, or, with `more`, too many positions."""
    ids = np.asarray(tokens, np.int64)
    if ids.ndim != 1 or not ids.size:
        raise BadInput("tokens: expected at least one token id")
    bad = ids[(ids < 0) | (ids >= model.spec.vocab)]
    if bad.size:
        raise BadInput(f"token id {bad[0]}: the vocabulary has 0 .. {model.spec.vocab - 1}")
    positions = len(ids) + more
    if positions > model.spec.context_train:
        raise BadInput(f"context {positions}: expected 1 to the model's {model.spec.context_train} positions")
    return ids


def exact_logits(model: Model, tokens: Tokens, *, kv: str) -> Logits:
    """(tokens, vocab) float32, the bits that numerics 1 promises."""
    ids = checked_tokens(model, tokens)
    cache = qwen3.new_cache(model, len(ids), kv=kv, form=EXACT)
    return np.asarray(qwen3.forward(model, ids, cache, form=EXACT), np.float32)


def exact_tokens(model: Model, tokens: Tokens, n: int, *, kv: str) -> list[int]:
    """n greedy ids behind `tokens`, ties to the lowest."""
    ids = checked_tokens(model, tokens, more=n)
    cache = qwen3.new_cache(model, len(ids) + n, kv=kv, form=EXACT)
    chosen: list[int] = []
    step = [int(token) for token in ids]
    while len(chosen) < n:
        logits = qwen3.forward(model, step, cache, form=EXACT, all_logits=False)
        chosen.append(int(EXACT.argmax(logits)[0]))
        step = chosen[-1:]
    return chosen


def ideal_logits(model: Model, tokens: Tokens) -> NDArray[np.float64]:
    """(tokens, vocab) float64 mathematics, no rounding of activations or KV cache."""
    ids = checked_tokens(model, tokens)
    cache = qwen3.new_cache(model, len(ids), kv="f32", form=IDEAL)
    return np.asarray(qwen3.forward(model, ids, cache, form=IDEAL), np.float64)


def cached_exact_logits(model: Model, sha256: str, tokens: NDArray[np.int64], *, kv: str, cache: Path) -> Logits:
    """The same, computed once for all rows and runs of this model, token list, KV type and oracle."""
    key = json.dumps([sha256, tokens.tolist(), kv, code_hash(ORACLE_CODE)])
    path = cache / "oracle" / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.npy"
    with locked(path):
        logits = _read(path)
        if logits is None:
            logits = exact_logits(model, tokens, kv=kv)
            buffer = io.BytesIO()
            np.save(buffer, logits)
            write_atomically(path, buffer.getvalue())
        return logits


def _read(path: Path) -> Logits | None:
    """None if there is no such file, or what is left of one after a crash of the machine."""
    try:
        logits: Logits = np.load(path)
    except (OSError, EOFError, ValueError):
        return None
    return logits
