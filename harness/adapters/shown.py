"""What a session shows at its taps: that no op is left out, and a digest of all that the oracle looks at."""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer

Array = NDArray[np.float32]

ENDS = ("embedding", "output_norm", "logits")
IN_LAYER = (
    "attn_norm", "q", "k", "v", "q_norm", "k_norm", "q_rope", "k_rope", "attention", "attn_output", "attn_residual",
    "ffn_norm", "gate", "up", "swiglu", "down", "ffn_residual",
)  # fmt: skip
WHOLE = ("k_rope", "v")  # of these every row goes into the KV cache
ROW_EDGES = (0, 15, 16, 63, 64)  # of the row tiles of the matmul and attention kernels


class Shown:
    """Is called with each tap in order. `digest` tells any two runs apart that the oracle could judge differently."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._shown: Counter[tuple[str, int]] = Counter()
        self._hash = hashlib.blake2b(digest_size=16)
        self._tokens: NDArray[np.int64] = np.zeros(0, np.int64)
        self._position = 0
        self._sampled: NDArray[np.int64] = np.zeros(0, np.int64)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def begin(self, tokens: NDArray[np.int64], *, position: int) -> None:
        """The next step has these tokens, the first at `position`."""
        self._tokens, self._position = tokens, position
        rows = len(tokens)
        self._sampled = np.unique([row for row in (*ROW_EDGES, rows - 1) if row < rows])

    def lacking(self, *, steps: int) -> str:
        """The first op that was not shown once in each of so many steps, in words; empty if there is none."""
        owed = [*((name, -1) for name in ENDS), *((name, layer) for layer in range(self._layers) for name in IN_LAYER)]
        return next((f"{name}, layer {layer}," for name, layer in owed if self._shown[name, layer] != steps), "")

    def tap(self, name: str, layer: int, buffer: Buffer) -> None:
        value = np.asarray(buffer.read(), np.float32)
        value = value.reshape(len(value), -1)
        if name == "output_norm":  # the head runs on the last rows only
            self._sampled = np.arange(len(value))
        self._hash.update(f"{name} {layer} {self._position} {value.shape}\0".encode())
        self._hash.update((value if name in WHOLE else value[self._sampled]).tobytes())
        self._shown[name, layer] += 1
        self.look(name, layer, value)

    def look(self, name: str, layer: int, value: Array) -> None:
        """All rows of a tap, for who does more with them."""
