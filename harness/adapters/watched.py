"""The exact form with the ideal one looking over its shoulder: every op once more in float64, on the same inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference.floats import F64, Array
from reference.forms import EXACT, IDEAL, Form
from reference.ops.activations import Activations
from reference.spec.model import Model, Tensor

Op = Callable[..., Array]


class Watched:
    """`form` has the bits of the exact form; `alone` says what the ideal op makes of what went into an exact output.

    Quantised activations count as the matmul's own, the RoPE table as rope's, and the KV type as attention's.
    """

    def __init__(self, model: Model, context: int) -> None:
        self._cos, self._sin = IDEAL.rope_table(model.spec.rope, context)
        self._outputs: dict[int, tuple[Array, F64]] = {}  # by the address of the exact one, which is kept alive
        self._wide: dict[int, tuple[F64, F64]] = {}  # keys and values unrounded, by the address of the exact keys
        self.form: Form = replace(
            EXACT,
            rms_norm=self._both(EXACT.rms_norm, IDEAL.rms_norm),
            qk_norm=self._both(EXACT.qk_norm, IDEAL.qk_norm),
            swiglu=self._both(EXACT.swiglu, IDEAL.swiglu),
            embedding=self._embedding,
            matmul=self._matmul,
            add=self._add,
            rope=self._rope,
            kv_append=self._kv_append,
            attention=self._attention,
        )

    def alone(self, output: Array) -> F64:
        """The ideal op's output in the shape of an exact one (or a view of it) made since the last `forget`."""
        return self._outputs[_address(output)][1].reshape(output.shape)

    def forget(self) -> None:
        """Let go of all outputs."""
        self._outputs.clear()

    def _keep(self, exact: Array, ideal: Array) -> Array:
        self._outputs[_address(exact)] = (exact, ideal.astype(np.float64, copy=False))
        return exact

    def _both(self, exact: Op, ideal: Op) -> Op:
        return lambda *inputs, **settings: self._keep(exact(*inputs, **settings), ideal(*inputs, **settings))

    def _embedding(self, tokens: NDArray[np.integer[Any]], table: Tensor) -> Array:
        return self._keep(EXACT.embedding(tokens, table), IDEAL.embedding(tokens, table))

    def _matmul(self, x: Activations, weight: Tensor) -> Array:
        return self._keep(EXACT.matmul(x, weight), IDEAL.matmul(Activations(values=x.values), weight))

    def _add(self, x: Array, y: Array) -> Array:
        """A bias (one dimension) is part of the projection before it."""
        before = self._outputs[_address(x)][1] if y.ndim == 1 else x
        return self._keep(EXACT.add(x, y), IDEAL.add(before, y))

    def _rope(self, x: Array, cos: Array, sin: Array, position: int) -> Array:
        return self._keep(EXACT.rope(x, cos, sin, position), IDEAL.rope(x, self._cos, self._sin, position))

    def _kv_append(self, k: Array, v: Array, position: int, *, keys: Array, values: Array) -> None:
        EXACT.kv_append(k, v, position, keys=keys, values=values)
        if _address(keys) not in self._wide:
            self._wide[_address(keys)] = (np.zeros(keys.shape), np.zeros(values.shape))
        wide_keys, wide_values = self._wide[_address(keys)]
        IDEAL.kv_append(k, v, position, keys=wide_keys, values=wide_values)

    def _attention(self, q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> Array:
        exact = EXACT.attention(q, keys, values, position, scale=scale)
        return self._keep(exact, IDEAL.attention(q, *self._wide[_address(keys)], position, scale=scale))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])
