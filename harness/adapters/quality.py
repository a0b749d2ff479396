"""The exact form beside the ideal one, layer by layer on the same tokens: one layer's outputs are held at most."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.adapters.oracle import checked_tokens
from harness.adapters.protocol import Tokens
from harness.adapters.watched import Watched
from harness.errors import BadCall
from harness.quality import LogitQuality, OpQuality, TapError, by_op, first_not_finite, logit_quality, tap_error
from reference.families import qwen3
from reference.floats import Array
from reference.forms import IDEAL, Form
from reference.spec.model import Model

OnLayer = Callable[[int, int, float, float], None]  # layers done, layers in all, seconds so far, seconds to come


@dataclass(frozen=True, kw_only=True)
class ModelQuality:
    """What was found; `logits` is None where they were not compared. Ops behind `not_finite` were not looked at."""

    layers: int  # that were looked at
    ops: tuple[OpQuality, ...]
    logits: LogitQuality | None
    not_finite: str  # which form, op and place has a NaN or infinity; empty if none


class _NotFinite(Exception):
    """Ends the run at the first NaN or infinity."""


def weight_types(model: Model) -> dict[str, int]:
    """Bytes of the file's matrices by type, most first."""
    sizes: Counter[str] = Counter()
    for info in model.file.tensors.values():
        if len(info.shape) > 1:
            sizes[info.type] += info.nbytes
    return dict(sizes.most_common())


def seeded_tokens(model: Model, count: int, seed: int) -> NDArray[np.int64]:
    """`count` ids from the whole vocabulary; the same for the same seed everywhere."""
    return np.random.default_rng([seed, count]).integers(0, model.spec.vocab, count)


def measure_quality(
    model: Model, tokens: Tokens, *, kv: str, layers: int | None = None, on_layer: OnLayer
) -> ModelQuality:
    """Run both forms over all layers or the first `layers`; only all of them lead to logits.

    Raises BadInput for tokens outside the vocabulary, BadCall for layers that the model has not.
    """
    wanted = model.spec.layers if layers is None else layers
    if not 1 <= wanted <= model.spec.layers:
        raise BadCall(f"--layers {wanted}: the model has {model.spec.layers} layers, expected 1 .. {model.spec.layers}")
    pair = _Pair(model, checked_tokens(model, tokens), kv=kv)
    logits: LogitQuality | None = None
    try:
        pair.embed()
        start = time.perf_counter()
        for i in range(wanted):
            pair.layer(i)
            seconds = time.perf_counter() - start
            on_layer(i + 1, wanted, seconds, seconds / (i + 1) * (_work(model, wanted) - i - 1))
        if wanted == model.spec.layers:
            logits = pair.head()
    except _NotFinite as found:
        return ModelQuality(layers=wanted, ops=by_op(pair.errors), logits=None, not_finite=str(found))
    return ModelQuality(layers=wanted, ops=by_op(pair.errors), logits=logits, not_finite="")


def _require_finite(form: str, name: str, layer: int, value: Array) -> None:
    """Raises _NotFinite with the first place."""
    bad = first_not_finite(value)
    if bad:
        raise _NotFinite(f"{form}, {name}{f' of layer {layer}' if layer >= 0 else ''}: {bad}")


def _work(model: Model, wanted: int) -> float:
    """Layers to compute, the head counted as so many layers as it has weights of one."""
    if wanted < model.spec.layers:
        return wanted
    names = [name for name in model.file.tensors if name.startswith("blk.0.")]
    layer = sum(model.file.tensors[name].nbytes for name in names)
    return wanted + model.head().data.nbytes / layer


class _Pair:
    """Both forms at the same place in the model. `errors` has one entry for each output compared so far."""

    def __init__(self, model: Model, tokens: NDArray[np.int64], *, kv: str) -> None:
        self.errors: list[TapError] = []
        self._model = model
        self._tokens = tokens
        self._watched = Watched(model, len(tokens))
        self._forms = (self._watched.form, IDEAL)
        self._caches = {form.name: qwen3.new_cache(model, len(tokens), kv=kv, form=form) for form in self._forms}
        self._x: dict[str, Array] = {}
        self._exact: dict[str, Array] = {}  # outputs that the ideal form has not reached yet

    def embed(self) -> None:
        def step(form: Form) -> Array:
            x = form.embedding(self._tokens, self._model.tensor("token_embd.weight"))
            self._tap(form)("embedding", -1, x)
            return x

        self._both(step)

    def layer(self, i: int) -> None:
        def step(form: Form) -> Array:
            tap, x = self._tap(form), self._x[form.name]
            x = qwen3.attention_block(self._model, i, x, self._caches[form.name], 0, form=form, tap=tap)
            return qwen3.ffn_block(self._model, i, x, form=form, tap=tap)

        self._both(step)

    def head(self) -> LogitQuality:
        self._both(lambda form: qwen3.head(self._model, self._x[form.name], form=form, tap=self._tap(form)))
        return logit_quality(self._x["exact"].astype(np.float32), self._x["ideal"].astype(np.float64))

    def _both(self, step: Callable[[Form], Array]) -> None:
        self._exact.clear()
        self._watched.forget()
        for form in self._forms:
            with np.errstate(all="ignore"):  # a NaN is looked for and reported by its place
                self._x[form.name] = step(form)

    def _tap(self, form: Form) -> qwen3.Tap:
        def look(name: str, layer: int, value: Array) -> None:
            _require_finite(f"{form.name} form", name, layer, value)
            if form is not IDEAL:
                self._exact[name] = value
                return
            exact = self._exact.pop(name)
            alone = self._watched.alone(exact)
            _require_finite("ideal op alone", name, layer, alone)
            self.errors.append(tap_error(name, layer, exact.astype(np.float32), alone, value.astype(np.float64)))

        return look
