"""Random weights that are the same bytes on every machine.

Only the raw words of PCG64 are used (NumPy promises their stream; it does not promise those of its distributions), with
integer sums and single float operations: no library function whose last bit may differ.
"""

from __future__ import annotations

import math
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from reference.quant import encode_rows
from reference.synth.header import PlannedTensor

_DRAWS = 8  # uniform 16-bit numbers summed for one value
_CENTRE = _DRAWS * 65535 // 2
_SUM_STD = math.sqrt(_DRAWS * (65536**2 - 1) / 12)


def generator(seed: int, name: str) -> np.random.PCG64:
    """The stream of one tensor; independent of the order in which tensors are made."""
    return np.random.PCG64(np.random.SeedSequence([seed, crc32(name.encode())]))


def normal(bits: np.random.PCG64, count: int) -> NDArray[np.float32]:
    """Close to standard normal, (count,): sums of eight uniform numbers, at most 4.9 in magnitude."""
    words = bits.random_raw(count * 2).astype("<u8", copy=False).view("<u2").reshape(count, _DRAWS)
    sums: NDArray[np.int64] = words.sum(axis=1, dtype=np.int64) - _CENTRE
    return sums.astype(np.float32) * np.float32(1 / _SUM_STD)


def encoded_tensor(tensor: PlannedTensor, seed: int) -> NDArray[np.uint8]:
    """The stored bytes (rows, bytes per row) of normal values, encoded by the real encoder of the type."""
    values = normal(generator(seed, tensor.name), math.prod(tensor.shape))
    values = values * np.float32(tensor.std) + np.float32(tensor.mean)
    return encode_rows(tensor.type, values.reshape(-1, tensor.shape[-1]))
