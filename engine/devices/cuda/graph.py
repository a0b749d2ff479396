"""A captured graph: what it holds is counted from the graph itself, through the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.device import CaptureError, DeviceError
from engine.devices.cuda.memory import Block, Owner, UsesMemory
from engine.devices.cuda.support import checked
from engine.devices.errors import StaleGraph


class CudaGraph(UsesMemory):
    """Implements engine.device.Graph.

    `recorded` is CuPy's Graph, `blocks` the allocations that its launches point to, kept until `close`. `launched` is
    told the number of kernels of every replay.
    """

    def __init__(
        self,
        owner: Owner,
        recorded: Any,
        stream: Any,
        *,
        blocks: Iterable[Block],
        has_pdl: bool,
        launched: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._owner = owner
        self._recorded = recorded
        self._stream = stream
        self._launched = launched
        self.kernels = _count_kernels(owner.cuda.driver, recorded.graph)
        self.programmatic_edges = _count_programmatic(owner.cuda.driver, recorded.graph) if has_pdl else None
        self._blocks = set(blocks)
        for block in self._blocks:
            block.graphs.add(self)
        recorded.upload(stream)

    def launch(self) -> None:
        """Raises StaleGraph, naming the buffers, if one that it uses was freed."""
        if self._recorded is None:
            raise DeviceError("a closed graph cannot be launched")
        if self.freed:
            raise StaleGraph(f"graph uses buffers that were freed after its capture: {', '.join(sorted(self.freed))}")
        self._owner.refuse_during_capture("a graph launch")
        try:
            self._recorded.launch(self._stream)
        except self._owner.cuda.cupy.cuda.runtime.CUDARuntimeError as error:
            raise DeviceError(f"graph: launch failed: {error}") from None
        self._launched(self.kernels)

    def close(self) -> None:
        """Waits for the last replay, then lets go of the graph and of its buffers."""
        if self._recorded is not None:
            self._stream.synchronize()
        self._recorded = None
        self._blocks.clear()


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
    # Asking for the count alone may be refused where edges carry data, so room is given: a chain has one edge a node.
    _, nodes = checked(driver, driver.cuGraphGetNodes(graph), "counting graph nodes")
    *_, data, count = checked(driver, get_edges(graph, max(1, nodes * 2)), "graph edges")
    programmatic = int(driver.CUgraphDependencyType.CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC)
    return sum(int(edge.type) == programmatic for edge in data[:count])
