"""Tiny models for the suites: made once per test run, deterministic by seed."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.device import Device
from engine.session import Session
from engine.toggles import Toggles
from reference.families import qwen3
from reference.forms import EXACT
from reference.spec.model import Model, open_model
from reference.synth import SynthShape, synth, synth_shape

# One layer and the narrowest heads: about a millisecond a step on the host device, so that a thousand are affordable.
MICRO = SynthShape(layers=1, dim=64, heads=2, kv_heads=1, head_dim=32, ff=96, vocab=96)


@cache
def _made(folder: Path, name: str, quant: str, shape: SynthShape | None) -> Model:
    path = folder / f"{name}-{quant}.gguf"
    if not path.exists():
        if shape is None:
            synth(name, quant=quant, seed=1, path=path)
        else:
            synth_shape(shape, name=name, quant=quant, seed=1, path=path)
    return open_model(path)


class Models:
    """Opens models by name; `folder` is this test process's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tiny(self, quant: str) -> Model:
        return _made(self._folder, "qwen3-tiny", quant, None)

    def odd(self, quant: str) -> Model:
        return _made(self._folder, "qwen3-odd", quant, None)

    def micro(self, quant: str = "Q8_0") -> Model:
        return _made(self._folder, "micro", quant, MICRO)

    def variant(self, name: str, quant: str, shape: SynthShape) -> Model:
        return _made(self._folder, name, quant, shape)


def random_tokens(model: Model, count: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, count]).integers(0, model.spec.vocab, count)


def session(
    device: Device,
    model: Model,
    *,
    context: int,
    max_batch: int | None = None,
    grid_limit: int | None = None,
    **toggles: str | int,
) -> Session:
    """A session with the given toggles over the defaults."""
    chosen = Toggles.from_mapping(toggles)
    return Session(device, model, context=context, toggles=chosen, max_batch=max_batch, grid_limit=grid_limit)


def oracle_logits(model: Model, tokens: NDArray[np.int64], *, kv: str = "f16") -> NDArray[np.float32]:
    """Logits of every position, exact form."""
    cache_ = qwen3.new_cache(model, len(tokens), kv=kv, form=EXACT)
    logits: NDArray[np.float32] = qwen3.forward(model, tokens, cache_, form=EXACT)
    return logits


def assert_same_bits(got: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> None:
    """Equal shape and bits, a NaN equal to a NaN; names the first element that differs."""
    assert got.shape == expected.shape, f"{what}: shape {got.shape}, expected {expected.shape}"
    same = (got.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(got) & np.isnan(expected))
    if not same.all():
        where = tuple(int(i) for i in np.argwhere(~same)[0])
        found = f"{int((~same).sum())} of {same.size} values differ"
        raise AssertionError(f"{what}: {found}, first at {where}: {got[where]!r}, expected {expected[where]!r}")
