"""Which type a tensor gets: all matrices one type, or the rule of llama-quantize for Q4_K_M and Q5_K_M."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from reference.spec.errors import BadInput
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.qwen3 import Qwen3

FILE_TYPES: Mapping[str, int] = MappingProxyType(
    {"F32": 0, "F16": 1, "BF16": 32, "Q8_0": 7, "Q4_0": 2, "Q5_0": 8, "Q4_K": 14, "Q5_K": 16, "Q6_K": 18}
    | {"Q4_K_M": 15, "Q5_K_M": 17}
)
"""general.file_type of every quant name."""

_BASE = {"Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K"}
_NARROW = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # where a row is no multiple of 256


def tensor_type(quant: str, name: str, shape: tuple[int, ...], spec: Qwen3) -> str:
    """The type of one tensor, `shape` in numpy order.

    A matrix whose rows do not divide by its type's block falls back as llama-quantize does. Raises BadInput where that
    is a type which is not supported.
    """
    if len(shape) < 2:
        return "F32"
    chosen = _wanted(quant, name, spec)
    if chosen in _NARROW and shape[-1] % 256:
        chosen = _NARROW[chosen]
    if chosen not in WEIGHT_TYPES:
        raise BadInput(
            f"{quant}: tensor {name!r} has rows of {shape[-1]} weights, no multiple of 256, and would become {chosen},"
            f" which is not supported; choose another quant"
        )
    return "F16" if shape[-1] % WEIGHT_TYPES[chosen].block_elements else chosen


def _wanted(quant: str, name: str, spec: Qwen3) -> str:
    """Before any fallback: the mixes keep the head and the more sensitive layers at six bits."""
    base = _BASE.get(quant, quant)
    if quant not in _BASE:
        return base
    if name == "output.weight" or (name == "token_embd.weight" and spec.tied):
        return "Q6_K"
    if name.endswith(("attn_v.weight", "ffn_down.weight")) and _more_bits(int(name.split(".")[1]), spec.layers):
        return "Q6_K"
    return base


def _more_bits(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
