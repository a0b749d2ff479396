"""Weights on a device, in tiles that kernels read in order."""

from engine.weights.load import load_weight, write_tiles
from engine.weights.tiles import TILES, TileLayout
from engine.weights.weight import Weight, repacked_bytes, room_for

__all__ = ["TILES", "TileLayout", "Weight", "load_weight", "repacked_bytes", "room_for", "write_tiles"]
