"""An in-order queue of launches, with or without programmatic dependent launch, recorded or run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from engine.device import CaptureError, Counters, DeviceError, KernelArgument, LaunchError
from engine.devices.cuda.graph import CudaGraph
from engine.devices.cuda.kernels import Kernel
from engine.devices.cuda.memory import CudaBuffer
from engine.devices.cuda.support import error_text

if TYPE_CHECKING:
    from engine.devices.cuda.device import CudaDevice


class CudaCapture:
    """Filled in when the `with` block of `CudaStream.capture` ends."""

    graph: CudaGraph


class CudaStream:
    """Implements engine.device.Stream on a CuPy stream that does not wait for the default stream."""

    def __init__(self, device: CudaDevice, *, pdl: bool, grid_limit: int | None) -> None:
        if grid_limit is not None and grid_limit < 1:
            raise DeviceError(f"stream: grid limit {grid_limit}, expected at least 1")
        self.device = device
        self.raw = device.cuda.cupy.cuda.Stream(non_blocking=True)
        self._driver = device.cuda.driver
        self._runtime = device.cuda.cupy.cuda.runtime
        self._pdl = pdl and device.has_pdl
        self._grid_limit = grid_limit
        self._configs: dict[tuple[Kernel, int, int, int], Any] = {}
        self._recording: list[Any] | None = None  # memory that the launches of a capture point to
        self._launches = self._graph_launches = self._graph_kernels = 0

    @property
    def counters(self) -> Counters:
        return Counters(launches=self._launches, graph_launches=self._graph_launches, graph_kernels=self._graph_kernels)

    def launch(
        self, module: str, kernel: str, *, grid: int, block: int, args: Sequence[KernelArgument], shared: int = 0
    ) -> None:
        loaded = self.device.kernels.get(module, kernel)
        config = self._configs.get((loaded, grid, block, shared)) or self._config(loaded, grid, block, shared)
        loaded.pack(args)
        (error,) = self._driver.cuLaunchKernelEx(config, loaded.function, loaded.parameters, 0)
        if error:
            raise LaunchError(f"{loaded.name}: launch failed: {error_text(self._driver, error)}")
        if self._recording is None:
            self._launches += 1
        else:
            self._recording += [arg.block.memory for arg in args if isinstance(arg, CudaBuffer)]

    def capture(self) -> AbstractContextManager[CudaCapture]:
        return self._capture()

    def synchronize(self) -> None:
        if self.device.capturing:
            raise CaptureError("stream: synchronize during capture; a graph holds launches only")
        try:
            self.raw.synchronize()
        except self._runtime.CUDARuntimeError as error:
            raise DeviceError(f"stream: a kernel failed: {error}") from None

    def _config(self, kernel: Kernel, grid: int, block: int, shared: int) -> Any:
        """The launch configuration, checked and built once for each geometry."""
        kernel.check_geometry(grid, block, shared)
        driver = self._driver
        config = driver.CUlaunchConfig()
        config.gridDimX = grid if self._grid_limit is None else min(grid, self._grid_limit)
        config.gridDimY = config.gridDimZ = 1
        config.blockDimX, config.blockDimY, config.blockDimZ = block, 1, 1
        config.sharedMemBytes = shared
        config.hStream = driver.CUstream(self.raw.ptr)
        if self._pdl:
            attribute = driver.CUlaunchAttribute()
            attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            config.attrs = [attribute]
            config.numAttrs = 1
        self._configs[kernel, grid, block, shared] = config
        return config

    @contextmanager
    def _capture(self) -> Iterator[CudaCapture]:
        """Thread-local capture: CUDA refuses what cannot be recorded (an allocation, a copy) from this thread too."""
        if self.device.capturing:
            raise CaptureError("stream: a capture is already going on on this device")
        capture = CudaCapture()
        self._begin()
        try:
            yield capture
        except BaseException:
            self._abandon()
            raise
        capture.graph = self._end()

    def _begin(self) -> None:
        try:
            self.raw.begin_capture(self._runtime.streamCaptureModeThreadLocal)
        except self._runtime.CUDARuntimeError as error:
            raise CaptureError(f"stream: capture did not begin: {error}") from None
        self._recording = []
        self.device.capturing = True

    def _end(self) -> CudaGraph:
        memory = self._stop()
        try:
            recorded = self.raw.end_capture()
        except self._runtime.CUDARuntimeError as error:
            raise CaptureError(f"stream: capture failed: {error}") from None
        return CudaGraph(
            self.device.cuda, recorded, self.raw, memory=memory, has_pdl=self.device.has_pdl, launched=self._replayed
        )

    def _abandon(self) -> None:
        """Ends a capture whose body raised; what was recorded is thrown away and the stream runs again."""
        self._stop()
        error, graph = self._driver.cuStreamEndCapture(self._driver.CUstream(self.raw.ptr))
        if not error:
            self._driver.cuGraphDestroy(graph)

    def _stop(self) -> list[Any]:
        memory, self._recording = self._recording or [], None
        self.device.capturing = False
        return memory

    def _replayed(self, kernels: int) -> None:
        self._graph_launches += 1
        self._graph_kernels += kernels
