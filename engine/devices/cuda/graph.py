"""A captured graph: what it holds is counted from the graph itself, through the driver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.device import CaptureError, DeviceError
from engine.devices.cuda.support import Cuda, checked


class CudaGraph:
    """Implements engine.device.Graph.

    `recorded` is CuPy's Graph, `memory` the allocations that its launches point to: they stay alive, at their
    addresses, until `close`. `launched` is told the number of kernels of every replay.
    """

    def __init__(
        self, cuda: Cuda, recorded: Any, stream: Any, *, memory: Sequence[Any], has_pdl: bool, launched: Callable[[int], None]
    ) -> None:
        self._runtime = cuda.cupy.cuda.runtime
        self._recorded = recorded
        self._stream = stream
        self._memory = list(memory)
        self._launched = launched
        self.kernels = _count_kernels(cuda.driver, recorded.graph)
        self.programmatic_edges = _count_programmatic(cuda.driver, recorded.graph) if has_pdl else None
        recorded.upload(stream)

    def launch(self) -> None:
        if self._recorded is None:
            raise DeviceError("graph: launched after it was closed")
        try:
            self._recorded.launch(self._stream)
        except self._runtime.CUDARuntimeError as error:
            raise DeviceError(f"graph: launch failed: {error}") from None
        self._launched(self.kernels)

    def close(self) -> None:
        """Waits for the last replay, then lets go of the graph and of its memory."""
        if self._recorded is not None:
            self._stream.synchronize()
        self._recorded = None
        self._memory.clear()


def _count_kernels(driver: Any, handle: int) -> int:
    """Kernel nodes. Raises CaptureError if the graph holds anything else: the engine records launches only."""
    graph = driver.CUgraph(handle)
    _, total = checked(driver, driver.cuGraphGetNodes(graph), "counting graph nodes")
    nodes = checked(driver, driver.cuGraphGetNodes(graph, total), "listing graph nodes")[0][:total] if total else []
    kernel = driver.CUgraphNodeType.CU_GRAPH_NODE_TYPE_KERNEL
    kinds = [checked(driver, driver.cuGraphNodeGetType(node), "type of a graph node") for node in nodes]
    others = sorted({kind.name for kind in kinds if kind != kernel})
    if others:
        raise CaptureError(f"capture recorded more than kernel launches: {', '.join(others)}")
    return len(kinds)


def _count_programmatic(driver: Any, handle: int) -> int:
    """Edges over which a kernel may start before its predecessor has ended."""
    get_edges = getattr(driver, "cuGraphGetEdges_v2", driver.cuGraphGetEdges)  # renamed between CUDA 12 and 13
    graph = driver.CUgraph(handle)
    # The count alone is refused (lossy) where edges carry data, so room is given: a chain has one edge a node.
    _, nodes = checked(driver, driver.cuGraphGetNodes(graph), "counting graph nodes")
    *_, data, count = checked(driver, get_edges(graph, max(1, nodes * 2)), "graph edges")
    programmatic = int(driver.CUgraphDependencyType.CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC)
    return sum(int(edge.type) == programmatic for edge in data[:count])
