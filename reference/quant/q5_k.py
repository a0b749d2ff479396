"""Q5_K: 256 weights in 176 bytes, weight = (d * sc) * q - (dmin * m); the fifth bit of block b is bit b of qh."""

from __future__ import annotations

import numpy as np

from reference.quant.blocks import F32, LARGEST_HALF, U8, OffsetBlocks, encodable_blocks, repeat_sub_blocks, view_blocks
from reference.quant.k_scales import pack_scales, unpack_scales
from reference.quant.k_search import affine_super_blocks
from reference.spec.layout import WEIGHT_TYPES, half_to_float


def decode(data: U8) -> OffsetBlocks:
    """Codes and scales of stored rows, (rows, bytes per row)."""
    blocks = view_blocks(data, "Q5_K")
    rows = len(blocks)
    pairs = blocks["qs"].reshape(*blocks.shape, 4, 1, 32)  # low nibbles are the even block, high nibbles the odd one
    nibbles = np.concatenate((pairs & 15, pairs >> 4), axis=-2).reshape(rows, -1, 32)
    fifth = np.unpackbits(blocks["qh"][..., None], axis=-1, bitorder="little")  # (rows, super-blocks, 32, 8)
    codes = nibbles | (fifth.swapaxes(-1, -2).reshape(rows, -1, 32) << 4)
    sc, m = unpack_scales(blocks["scales"])
    return OffsetBlocks(
        codes=codes.view(np.int8),
        d=repeat_sub_blocks(half_to_float(blocks["d"])),
        dmin=repeat_sub_blocks(half_to_float(blocks["dmin"])),
        sc=sc.reshape(rows, -1).astype(np.float32),
        m=m.reshape(rows, -1).astype(np.float32),
    )


def encode(values: F32) -> U8:
    """Rows of float32 to stored rows; scales and minima by a search for the least squared error."""
    x = encodable_blocks(values, "Q5_K", 63 * LARGEST_HALF)
    d, dmin, sc, m, codes = affine_super_blocks(x, 31)
    nibbles = codes & 15
    blocks = np.empty(len(x), WEIGHT_TYPES["Q5_K"].dtype)
    blocks["d"], blocks["dmin"] = d, dmin
    blocks["scales"] = pack_scales(sc, m)
    blocks["qh"] = np.packbits(codes.swapaxes(-1, -2) >> 4, axis=-1, bitorder="little")[..., 0]
    blocks["qs"] = (nibbles[:, 0::2] | (nibbles[:, 1::2] << 4)).reshape(-1, 128)
    return blocks.view(np.uint8).reshape(len(values), -1)
