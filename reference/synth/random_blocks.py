"""Random stored blocks at the speed of a disk: every code bit is random, the scales are set for a standard deviation.

The random bytes that lie where a scale belongs choose it from a small table: it varies by a quarter up and down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from reference.quant.floats import encode_bf16, encode_f16
from reference.spec.layout import WEIGHT_TYPES
from reference.synth.header import PlannedTensor
from reference.synth.values import generator

CHUNK = 1 << 22  # bytes made at once: still in cache when its scales are set

U8 = NDArray[np.uint8]

_FACTOR_SQUARE = 1 + 1 / 48  # mean square of a factor uniform in 0.75 .. 1.25
_SCALE_MEAN, _SCALE_SQUARE = 47.5, 47.5**2 + (32**2 - 1) / 12  # of a whole number uniform in 32 .. 63


def random_chunks(tensor: PlannedTensor, seed: int) -> Iterator[U8]:
    """The stored bytes of a tensor of mean 0 and its standard deviation, in pieces of whole blocks."""
    step = CHUNK // WEIGHT_TYPES[tensor.type].block_bytes * WEIGHT_TYPES[tensor.type].block_bytes
    bits = generator(seed, tensor.name)
    set_scales = _scale_setter(tensor.type, tensor.std)
    for start in range(0, tensor.nbytes, step):
        count = min(step, tensor.nbytes - start)
        raw = bits.random_raw(-(-count // 8)).astype("<u8", copy=False).view(np.uint8)[:count]
        set_scales(raw)
        yield raw


def _scale_setter(type_name: str, std: float) -> Callable[[U8], None]:
    """What turns random bytes, in place, into stored blocks of weights with this standard deviation."""
    match type_name:
        case "F32" | "F16" | "BF16":
            return _float_setter(type_name, std)
        case "Q8_0":
            return _signed_setter(type_name, std, 256)
        case "Q4_0":
            return _signed_setter(type_name, std, 16)
        case "Q5_0":
            return _signed_setter(type_name, std, 32)
        case "Q4_K":
            return _offset_setter(type_name, std, 16)
        case "Q5_K":
            return _offset_setter(type_name, std, 32)
        case "Q6_K":
            return _signed_setter(type_name, std / _uniform_rms(256), 64)
    raise KeyError(type_name)


def _uniform_rms(levels: int) -> float:
    """Root mean square of the whole numbers -levels / 2 .. levels / 2 - 1."""
    return math.sqrt((levels * levels - 1) / 12 + 0.25)


def _scale_table(unit: float, *, both_signs: bool) -> NDArray[np.float16]:
    """256 scales around `unit`; of both signs, codes that are not centred still have mean 0."""
    factors = 0.75 + 0.5 * np.arange(256) / 255
    if both_signs:
        factors[::2] *= -1
    return (unit * factors).astype(np.float16)


def _signed_setter(type_name: str, std: float, levels: int) -> Callable[[U8], None]:
    """Q8_0, Q4_0, Q5_0, Q6_K: one scale `d` a block."""
    table = _scale_table(std / (_uniform_rms(levels) * math.sqrt(_FACTOR_SQUARE)), both_signs=True)
    dtype = WEIGHT_TYPES[type_name].dtype

    def set_scales(raw: U8) -> None:
        d = raw.view(dtype)["d"]
        d[:] = table[d.view(np.uint16) & 0xFF]

    return set_scales


def _offset_setter(type_name: str, std: float, levels: int) -> Callable[[U8], None]:
    """Q4_K, Q5_K: weight = d sc q - dmin m; sc and m in 32 .. 63, dmin such that the mean is 0."""
    centre = (levels - 1) / 2
    code_square = (levels - 1) * (2 * levels - 1) / 6
    variance = _FACTOR_SQUARE * _SCALE_SQUARE * (code_square + centre**2) - 2 * (_SCALE_MEAN * centre) ** 2
    unit = std / math.sqrt(variance)
    d_table = _scale_table(unit, both_signs=False)
    dmin_table = _scale_table(unit * centre, both_signs=False)
    dtype = WEIGHT_TYPES[type_name].dtype

    def set_scales(raw: U8) -> None:
        blocks = raw.view(dtype)
        d, dmin = blocks["d"], blocks["dmin"]
        d[:] = d_table[d.view(np.uint16) & 0xFF]
        dmin[:] = dmin_table[dmin.view(np.uint16) & 0xFF]
        blocks["scales"][:, :8] |= 0xA0  # the top bit of each of the sixteen 6-bit numbers

    return set_scales


def _float_setter(type_name: str, std: float) -> Callable[[U8], None]:
    """Uniform values: the upper (or only) 16 bits of each come from a table; an F32 keeps random lower bits."""
    values = (np.arange(-65535, 65536, 2, dtype=np.float64) * (std * math.sqrt(3) / 65536)).astype(np.float32)
    table = (encode_f16(values) if type_name == "F16" else encode_bf16(values)).view(np.uint16)
    stride = 2 if type_name == "F32" else 1

    def set_values(raw: U8) -> None:
        upper = raw.view(np.uint16)[stride - 1 :: stride]
        upper[:] = table[upper]

    return set_values
