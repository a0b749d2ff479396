"""Weights on a device: repacked once at load into tiles that kernels read in order."""

from __future__ import annotations

import math
from dataclasses import dataclass

from engine.device import Buffer, Device
from engine.weights.repack import repack, unpack
from engine.weights.tiles import TILES, TileLayout
from reference.spec.gguf_file import TensorInfo
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor

__all__ = ["TILES", "TileLayout", "Weight", "load_weight", "repack", "repacked_bytes", "unpack"]


@dataclass(frozen=True, kw_only=True)
class Weight:
    """A repacked matrix (rows, cols) in device memory."""

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


def load_weight(device: Device, tensor: Tensor, name: str) -> Weight:
    """Repack a matrix and upload it. Raises OutOfMemory."""
    rows, cols = tensor.shape
    return Weight(name=name, type=tensor.type, rows=rows, cols=cols, buffer=device.upload(repack(tensor), name))


def repacked_bytes(info: TensorInfo, alignment: int) -> int:
    """What a tensor takes on a device that allocates multiples of `alignment`: tiles, or floats for a vector."""
    matrix = len(info.shape) == 2
    nbytes = math.prod(TILES[info.type].shape(*info.shape)) if matrix else 4 * math.prod(info.shape)
    return -(-nbytes // alignment) * alignment
