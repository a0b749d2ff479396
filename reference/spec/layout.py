"""How a weight is stored: the nine supported tensor types, the names of all others (layouts: ggml-common.h)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class WeightType:
    """One storage type. A row of n weights is n / block_elements blocks of block_bytes each, little endian."""

    name: str
    ggml_id: int
    block_elements: int
    dtype: np.dtype[np.void] | np.dtype[np.generic]  # of one block

    @property
    def block_bytes(self) -> int:
        return self.dtype.itemsize

    @property
    def quantized(self) -> bool:
        """Whether a matmul with this type takes activations of 8 bits (NUMERICS 6)."""
        return self.block_elements > 1

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` weights; `cols` is a multiple of block_elements."""
        blocks, rest = divmod(cols, self.block_elements)
        if rest:
            raise ValueError(f"a row of {cols} weights is not a multiple of {self.block_elements} ({self.name})")
        return blocks * self.block_bytes


_HALF = "<f2"
# Element e < 16 of a 32-block is the low nibble of byte e, element e + 16 the high nibble of the same byte.
_Q4_0 = np.dtype([("d", _HALF), ("qs", np.uint8, 16)])
# The fifth bit of element e is bit e of the little-endian word qh.
_Q5_0 = np.dtype([("d", _HALF), ("qh", np.uint8, 4), ("qs", np.uint8, 16)])
_Q8_0 = np.dtype([("d", _HALF), ("qs", np.int8, 32)])
# Sub-blocks 2c and 2c + 1 (32 weights each) are the low and the high nibbles of qs[32c .. 32c + 31];
# `scales` holds eight 6-bit scales and eight 6-bit minima; the fifth bit of sub-block b is bit b of qh.
_Q4_K = np.dtype([("d", _HALF), ("dmin", _HALF), ("scales", np.uint8, 12), ("qs", np.uint8, 128)])
_Q5_K = np.dtype([("d", _HALF), ("dmin", _HALF), ("scales", np.uint8, 12), ("qh", np.uint8, 32), ("qs", np.uint8, 128)])
# Two halves of 128 weights; in each, ql holds the low four bits of four runs of 32, qh the upper two.
_Q6_K = np.dtype([("ql", np.uint8, 128), ("qh", np.uint8, 64), ("scales", np.int8, 16), ("d", _HALF)])

_TYPES = (
    WeightType(name="F32", ggml_id=0, block_elements=1, dtype=np.dtype("<f4")),
    WeightType(name="F16", ggml_id=1, block_elements=1, dtype=np.dtype("<f2")),
    WeightType(name="BF16", ggml_id=30, block_elements=1, dtype=np.dtype("<u2")),
    WeightType(name="Q8_0", ggml_id=8, block_elements=32, dtype=_Q8_0),
    WeightType(name="Q4_0", ggml_id=2, block_elements=32, dtype=_Q4_0),
    WeightType(name="Q5_0", ggml_id=6, block_elements=32, dtype=_Q5_0),
    WeightType(name="Q4_K", ggml_id=12, block_elements=256, dtype=_Q4_K),
    WeightType(name="Q5_K", ggml_id=13, block_elements=256, dtype=_Q5_K),
    WeightType(name="Q6_K", ggml_id=14, block_elements=256, dtype=_Q6_K),
)

WEIGHT_TYPES: Mapping[str, WeightType] = MappingProxyType({kind.name: kind for kind in _TYPES})
"""The supported types by name."""

_OTHERS = {
    3: "Q4_1", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS",
    19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 24: "I8", 25: "I16", 26: "I32", 27: "I64",
    28: "F64", 29: "IQ1_M", 34: "TQ1_0", 35: "TQ2_0", 39: "MXFP4", 40: "NVFP4",
}  # fmt: skip

TYPE_NAMES: Mapping[int, str] = MappingProxyType({kind.ggml_id: kind.name for kind in _TYPES} | _OTHERS)
"""ggml type id -> name, supported or not, for reading and for error texts."""


def decode_floats(type_name: str, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stored rows (rows, bytes per row) of F32, F16 or BF16 as float32 (rows, cols), exact; ValueError on others."""
    data = np.ascontiguousarray(data)
    match type_name:
        case "F32":
            return data.view("<f4").astype(np.float32)
        case "F16":
            return half_to_float(data.view("<f2"))
        case "BF16":
            return (data.view("<u2").astype(np.uint32) << 16).view(np.float32)
    raise ValueError(f"{type_name} is not one of F32, F16, BF16")


def half_to_float(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """Exact; a signalling NaN becomes a quiet one in silence."""
    with np.errstate(invalid="ignore"):
        return values.astype(np.float32)
