"""Small work that has nothing to do with a model: if it gets slower, the machine did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.device import KernelArgument
from engine.devices.cuda.ceilings import MODULE, NODES, READ_THREADS, SLICE_BYTES, THREADS
from engine.devices.cuda.device import CudaDevice
from engine.devices.cuda.stream import CudaStream

MOST_BYTES = 2 * 10**9  # long enough for the gap before a launch not to count


@dataclass(frozen=True, kw_only=True)
class CanaryWork:
    run: Callable[[], None]  # issues it on the stream of Canaries
    bytes: int  # read and written by one run


class Canaries:
    """The works by name, on a stream of their own: a copy, a read as a matvec reads its weights, an empty graph."""

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self.stream: CudaStream = device.stream()
        self.bytes = min(MOST_BYTES, device.free_bytes() // 4) // SLICE_BYTES * SLICE_BYTES
        shape, self._pieces = (self.bytes // 16, 4), np.int64(self.bytes // 16)
        self._source = device.alloc(shape, np.uint32, "canary.source")
        self._target = device.alloc(shape, np.uint32, "canary.target")
        self._sum = device.upload(np.zeros(1, np.uint32), "canary.sum")
        self._grid = device.multiprocessors * 4
        self._launch("fill_random", self._source, self._pieces, np.uint32(1))
        with self.stream.capture() as capture:
            for _ in range(NODES):
                self.stream.launch(MODULE, "do_nothing", grid=device.multiprocessors, block=THREADS, args=())
        self._graph = capture.graph

    def works(self) -> Mapping[str, CanaryWork]:
        """In the order to be run: behind the others a node of the graph takes 0.75 us on an H200, before them 0.57."""
        return {
            "empty_graph": CanaryWork(run=self._graph.launch, bytes=0),
            "copy": CanaryWork(
                run=lambda: self._launch("copy_all", self._target, self._source, self._pieces), bytes=2 * self.bytes
            ),
            "matvec": CanaryWork(
                run=lambda: self._launch("read_all", self._sum, self._source, self._pieces), bytes=self.bytes
            ),
        }

    def close(self) -> None:
        self._graph.close()
        for buffer in (self._source, self._target, self._sum):
            self._device.free(buffer)

    def _launch(self, kernel: str, *args: KernelArgument) -> None:
        self.stream.launch(MODULE, kernel, grid=self._grid, block=READ_THREADS, args=args)
