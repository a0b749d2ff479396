"""Matrices from a file to tiles: threads copy rows out of the file, the device receives them and puts them in order.

A lane holds one chunk of rows at a time. While some lanes are filled by threads, others are on their way to the device
or repacked there, so that loading takes as long as the slowest of the three.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.device import Device, Lane
from engine.weights.repack import repack
from engine.weights.tiles import TILE_ROWS
from engine.weights.weight import Weight, room_for
from reference.spec.model import Tensor

# A thread copies 7 GB/s and an H200 receives 54. Of the sizes tried there these were the fastest, 28 GB/s: four lanes
# give 20, chunks of 2 MiB keep the interpreter busy, and of 16 MiB the first ones take longer to come.
LANES, LANE_BYTES = 8, 1 << 23


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole row groups of a matrix, but for the last rows of it."""

    weight: Weight
    group: int  # the first one
    stored: NDArray[np.uint8]  # (rows, bytes per row), a view of the file


def load_weight(device: Device, tensor: Tensor, name: str) -> Weight:
    """One matrix on a device. Raises OutOfMemory."""
    weight = room_for(device, tensor, name)
    write_tiles(device, [(weight, tensor)])
    return weight


def write_tiles(device: Device, matrices: Sequence[tuple[Weight, Tensor]]) -> None:
    """Fill matrices from their tensors; all is done on return.

    Takes up to LANES * LANE_BYTES on either side meanwhile, more where 32 rows alone exceed LANE_BYTES. Raises
    OutOfMemory before the first copy.
    """
    chunks = [chunk for weight, tensor in matrices for chunk in chunks_of(weight, tensor)]
    most = max((chunk.stored.nbytes for chunk in chunks), default=0)
    with ExitStack() as stack:
        names = [f"staging.{i}" for i in range(min(LANES, len(chunks)))]
        lanes = [stack.enter_context(closing(device.lane(most, name))) for name in names]
        pool = stack.enter_context(ThreadPoolExecutor(max(1, len(lanes))))
        filling: deque[tuple[Lane, Chunk, Future[None]]] = deque()
        for i, chunk in enumerate(chunks):
            if len(filling) == len(lanes):
                _send(*filling.popleft())
            lane = lanes[i % len(lanes)]
            filling.append((lane, chunk, pool.submit(_fill, lane, chunk)))
        for item in filling:
            _send(*item)
        device.settle(weight.buffer for weight, _ in matrices)


def chunks_of(weight: Weight, tensor: Tensor) -> Iterator[Chunk]:
    groups = max(1, LANE_BYTES // (TILE_ROWS * tensor.data.shape[1]))
    for group in range(0, weight.buffer.shape[0], groups):
        stored = tensor.data[group * TILE_ROWS : (group + groups) * TILE_ROWS]
        yield Chunk(weight=weight, group=group, stored=stored)


def _fill(lane: Lane, chunk: Chunk) -> None:
    lane.wait()
    np.copyto(lane.host[: chunk.stored.nbytes].reshape(chunk.stored.shape), chunk.stored)


def _send(lane: Lane, chunk: Chunk, filled: Future[None]) -> None:
    filled.result()
    rows, row_bytes = chunk.stored.shape
    lane.send(rows * row_bytes)
    stored = lane.buffer.rows(0, rows * row_bytes).reshape(rows, row_bytes)
    tiles = chunk.weight.buffer.rows(chunk.group, chunk.group - (-rows // TILE_ROWS))
    repack(lane.stream, stored, chunk.weight.type, out=tiles)
