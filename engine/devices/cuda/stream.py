"""An in-order queue of launches, with or without programmatic dependent launch, recorded or run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from engine.device import CaptureError, Counters, DeviceError, KernelArgument, LaunchError
from engine.devices.cuda.graph import CudaGraph
from engine.devices.cuda.kernels import Kernel
from engine.devices.cuda.memory import Block, CudaBuffer
from engine.devices.cuda.support import error_text

if TYPE_CHECKING:
    from engine.devices.cuda.device import CudaDevice


class CudaCapture:
    """See engine.device.Capture."""

    def __init__(self) -> None:
        self.result: CudaGraph | None = None

    @property
    def graph(self) -> CudaGraph:
        if self.result is None:
            raise CaptureError("there is no graph: the capture has not ended, or it failed")
        return self.result


class CudaStream:
    """Implements engine.device.Stream on a CuPy stream that does not wait for the default stream."""

    def __init__(self, device: CudaDevice, *, pdl: bool, grid_limit: int | None, portable: bool) -> None:
        if grid_limit is not None and grid_limit < 1:
            raise DeviceError(f"stream: grid limit {grid_limit}, expected at least 1")
        self.device = device
        self.raw = device.cuda.cupy.cuda.Stream(non_blocking=True)
        self._driver = device.cuda.driver
        self._runtime = device.cuda.cupy.cuda.runtime
        self._pdl = pdl and device.has_pdl and not portable
        self._kernels = device.kernels(portable=portable)
        self._portable = portable
        self._grid_limit = grid_limit
        self._configs: dict[tuple[Kernel, int, int, int], Any] = {}
        self._recording: set[Block] | None = None  # memory that the launches of a capture point to
        self._broken: str | None = None
        self._launches = self._graph_launches = self._graph_kernels = 0

    @property
    def portable(self) -> bool | None:
        return self._portable

    @property
    def counters(self) -> Counters:
        return Counters(launches=self._launches, graph_launches=self._graph_launches, graph_kernels=self._graph_kernels)

    def launch(
        self, module: str, kernel: str, *, grid: int, block: int, args: Sequence[KernelArgument], shared: int = 0
    ) -> None:
        loaded = self._kernels.get(module, kernel)
        config = self._configs.get((loaded, grid, block, shared)) or self._config(loaded, grid, block, shared)
        loaded.pack(args)
        (error,) = self._driver.cuLaunchKernelEx(config, loaded.function, loaded.parameters, 0)
        if error:
            raise LaunchError(f"{loaded.name}: launch failed: {error_text(self._driver, error)}")
        if self._recording is None:
            self._launches += 1
        else:
            self._recording.update(arg.block for arg in args if isinstance(arg, CudaBuffer))

    def capture(self) -> AbstractContextManager[CudaCapture]:
        return self._capture()

    def synchronize(self) -> None:
        self.device.refuse_during_capture("a synchronisation")
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
        """Thread-local capture: CUDA itself refuses, to this thread, most of what cannot be recorded."""
        self.device.refuse_during_capture("a second capture")
        capture = CudaCapture()
        self._begin()
        try:
            yield capture
            self._refuse_broken()
        except BaseException:
            self._abandon()
            raise
        capture.result = self._end()

    def _begin(self) -> None:
        try:
            self.raw.begin_capture(self._runtime.streamCaptureModeThreadLocal)
        except self._runtime.CUDARuntimeError as error:
            raise CaptureError(f"stream: capture did not begin: {error}") from None
        self._recording = set()
        self._broken = None
        self.device.capturing = self

    def break_off(self, what: str) -> None:
        """A capture during which something else than a launch was asked for gives no graph."""
        self._broken = self._broken or what

    def _refuse_broken(self) -> None:
        if self._broken is not None:
            raise CaptureError(f"the capture is void: {self._broken} was asked for during it")

    def _end(self) -> CudaGraph:
        blocks = self._stop()
        try:
            recorded = self.raw.end_capture()
        except self._runtime.CUDARuntimeError as error:
            raise CaptureError(f"stream: capture failed: {error}") from None
        device = self.device
        return CudaGraph(device, recorded, self.raw, blocks=blocks, has_pdl=device.has_pdl, launched=self._replayed)

    def _abandon(self) -> None:
        """Ends a capture that failed; what was recorded is thrown away and the stream runs again."""
        self._stop()
        error, graph = self._driver.cuStreamEndCapture(self._driver.CUstream(self.raw.ptr))
        if not error:
            self._driver.cuGraphDestroy(graph)

    def _stop(self) -> set[Block]:
        blocks, self._recording = self._recording or set(), None
        self.device.capturing = None
        return blocks

    def _replayed(self, kernels: int) -> None:
        self._graph_launches += 1
        self._graph_kernels += kernels
