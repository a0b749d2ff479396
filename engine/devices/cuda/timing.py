"""Time on the GPU's own clock."""

from __future__ import annotations

from collections.abc import Callable

from engine.devices.cuda.stream import CudaStream


class StreamTimer:
    """Times work on a stream with CUDA events: from when the GPU starts it to when the GPU has ended it."""

    def __init__(self, stream: CudaStream) -> None:
        cuda = stream.device.cuda.cupy.cuda
        self._stream = stream
        self._elapsed = cuda.get_elapsed_time
        self._start, self._stop = cuda.Event(), cuda.Event()

    def milliseconds(self, work: Callable[[], None]) -> float:
        """Run `work`, which issues launches or replays on the stream, and wait for its end."""
        self._start.record(self._stream.raw)
        work()
        self._stop.record(self._stream.raw)
        self._stop.synchronize()
        return float(self._elapsed(self._start, self._stop))
