"""8-bit rows that a fused kernel leaves: where they go, and the comparison with the oracle, pads included."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.device import Buffer
from engine.ops.quantize import BLOCK, Norm, Quantized, padded
from reference.ops import quantize as oracle
from suites.kernels.cases import assert_same


def outputs(rows: int, cols: int) -> dict[str, tuple[tuple[int, ...], type[np.generic]]]:
    """The outputs of suites.kernels.cases.run for rows of `cols` values."""
    width = padded(cols)
    return {
        "codes": ((rows, width), np.int8),
        "scales": ((rows, width // BLOCK), np.float32),
        "sums": ((rows, width // BLOCK), np.float32),
    }


def rows_of(buffers: Mapping[str, Buffer], *, norm: Norm | None = None) -> Quantized:
    """The 8-bit rows that buffers of these names are."""
    return Quantized(codes=buffers["codes"], scales=buffers["scales"], sums=buffers["sums"], norm=norm)


def assert_same_quantized(got: Mapping[str, NDArray[Any]], expected: oracle.Quantized, what: str) -> None:
    """Equal codes, scales and sums; zeros past the end of a row."""
    for name in ("codes", "scales", "sums"):
        wanted = getattr(expected, name)
        width = wanted.shape[1]
        assert_same(np.ascontiguousarray(got[name][:, :width]), wanted, f"{what} {name}")
        assert not got[name][:, width:].view(np.uint8).any(), f"{what}: pads of {name} are not zero"
