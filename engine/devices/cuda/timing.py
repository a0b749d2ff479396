"""Time on the GPU's own clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from engine.devices.cuda.memory import CudaBuffer
from engine.devices.cuda.stream import CudaStream

if TYPE_CHECKING:
    from engine.devices.cuda.device import CudaDevice

CLOCK_THREADS = 32


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


class StreamClock:
    """A clock of the GPU's own for whoever reads one before and after: seconds, `per` of them passing as one.

    Reading waits for the work on the stream, and counts all that the GPU did between two readings. With `per` = 32 a
    graph of 32 launches takes as long as one of them.
    """

    def __init__(self, stream: CudaStream, *, per: int = 1) -> None:
        cuda = stream.device.cuda.cupy.cuda
        self._stream, self._per = stream, per
        self._event, self._elapsed = cuda.Event, cuda.get_elapsed_time
        self._last = self._event()
        self._last.record(stream.raw)
        self._seconds = 0.0

    def __call__(self) -> float:
        # From reading to reading: over a long span an elapsed time, a float32, would lose its microseconds.
        now = self._event()
        now.record(self._stream.raw)
        now.synchronize()
        self._seconds += float(self._elapsed(self._last, now)) / 1e3 / self._per
        self._last = now
        return self._seconds


class SmClock:
    """The clock the multiprocessors really run at, read by themselves: cycles over nanoseconds of the GPU's timer.

    Needs no privilege. Its launches go to a stream of its own, so a session's counts do not change.
    """

    def __init__(self, device: CudaDevice) -> None:
        self._device = device
        self._stream = device.stream()
        self._shape = (device.multiprocessors, 2)
        self._before = device.alloc(self._shape, np.int64, "clock.before")
        self._after = device.alloc(self._shape, np.int64, "clock.after")

    def start(self) -> None:
        """From here on; waits for all earlier work."""
        for buffer in (self._before, self._after):
            buffer.write(np.zeros(self._shape, np.int64))
        self._look(self._before)

    def mhz(self) -> float | None:
        """Mean since `start`, of the median multiprocessor; None if none was met both times. Waits for all work."""
        self._look(self._after)
        before, after = (np.asarray(buffer.read(), np.int64) for buffer in (self._before, self._after))
        met = (before[:, 1] > 0) & (after[:, 1] > before[:, 1])
        if not met.any():
            return None
        cycles, nanoseconds = (after - before)[met].T
        return float(np.median(1e3 * cycles / nanoseconds))

    def close(self) -> None:
        self._device.free(self._before)
        self._device.free(self._after)

    def _look(self, buffer: CudaBuffer) -> None:
        count = np.int32(self._shape[0])
        self._stream.launch("ceilings", "show_clocks", grid=int(count), block=CLOCK_THREADS, args=(buffer, count))
        self._stream.synchronize()
