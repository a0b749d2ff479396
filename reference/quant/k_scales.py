"""The 12 bytes in which Q4_K and Q5_K hold eight 6-bit scales and eight 6-bit minima."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import U8


def unpack_scales(packed: U8) -> tuple[U8, U8]:
    """(..., 12) -> scales (..., 8) and minima (..., 8), each 0 .. 63.

    Bytes 0-3 and 4-7 hold scales 0-3 and minima 0-3 in their low six bits. Bytes 8-11 hold the low four bits of scales
    4-7 and, in the high nibble, of minima 4-7, whose upper two bits are the upper two bits of bytes 0-3 and 4-7.
    """
    first, second, third = packed[..., 0:4], packed[..., 4:8], packed[..., 8:12]
    sc = np.concatenate((first & 63, (third & 15) | ((first >> 6) << 4)), axis=-1)
    m = np.concatenate((second & 63, (third >> 4) | ((second >> 6) << 4)), axis=-1)
    return sc, m


def pack_scales(sc: U8, m: U8) -> U8:
    """The inverse of unpack_scales."""
    first = sc[..., :4] | ((sc[..., 4:] >> 4) << 6)
    second = m[..., :4] | ((m[..., 4:] >> 4) << 6)
    third = (sc[..., 4:] & 15) | ((m[..., 4:] & 15) << 4)
    return np.concatenate((first, second, third), axis=-1)
