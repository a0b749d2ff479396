"""A matrix in device memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.device import Buffer, Device
from engine.weights.tiles import TILES, TileLayout
from reference.spec.gguf_file import TensorInfo
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A matrix (rows, cols) in tiles."""

    name: str
    type: str  # a key of TILES
    rows: int
    cols: int
    buffer: Buffer  # (row groups, k tiles, bytes of a tile) uint8

    @property
    def layout(self) -> TileLayout:
        return TILES[self.type]

    @property
    def quantized(self) -> bool:
        """Whether a matmul with it takes activations of 8 bits."""
        return WEIGHT_TYPES[self.type].quantized


def room_for(device: Device, tensor: Tensor, name: str) -> Weight:
    """Memory for the tiles of a matrix, not yet written. Raises OutOfMemory."""
    rows, cols = tensor.shape
    buffer = device.alloc(TILES[tensor.type].shape(rows, cols), np.uint8, name)
    return Weight(name=name, type=tensor.type, rows=rows, cols=cols, buffer=buffer)


def repacked_bytes(info: TensorInfo, alignment: int) -> int:
    """What a tensor takes on a device that allocates multiples of `alignment`: tiles, or floats for a vector."""
    matrix = len(info.shape) == 2
    nbytes = math.prod(TILES[info.type].shape(*info.shape)) if matrix else 4 * math.prod(info.shape)
    return -(-nbytes // alignment) * alignment
