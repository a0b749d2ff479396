"""The GPU's own clocks: they agree with each other and with what a known amount of work must take."""

from __future__ import annotations

from contextlib import closing
from statistics import median

import numpy as np
import pytest

from engine.devices.cuda import CudaDevice
from engine.devices.cuda.canaries import Canaries
from engine.devices.cuda.timing import SmClock, StreamClock, StreamTimer

ROUNDS = 200_000


def test_the_multiprocessors_run_within_what_a_gpu_can(cuda: CudaDevice) -> None:
    stream = cuda.stream()
    tiles = cuda.multiprocessors * 8
    out = cuda.alloc((tiles,), np.int32, "out")
    used = cuda.used_bytes()
    with closing(SmClock(cuda)) as clock:
        found = []
        for _ in range(5):
            clock.start()
            args = (out, np.int32(tiles), np.int32(ROUNDS), np.uint32(2))
            stream.launch("ceilings", "mma_peak", grid=tiles, block=32, args=args)
            stream.synchronize()
            found.append(clock.mhz())
    assert all(mhz is not None and 200 < mhz < 4000 for mhz in found)
    assert stream.counters.launches == 5  # looking at the clock is not counted
    assert cuda.used_bytes() == used


@pytest.mark.parametrize("per", [1, 8])
def test_a_clock_that_is_read_twice_is_a_timer(cuda: CudaDevice, per: int) -> None:
    stream = cuda.stream()
    out = cuda.alloc((64,), np.int32, "out")

    def work() -> None:
        args = (out, np.int32(64), np.int32(ROUNDS), np.uint32(2))
        stream.launch("ceilings", "mma_peak", grid=64, block=32, args=args)

    timer, clock = StreamTimer(stream), StreamClock(stream, per=per)
    timer.milliseconds(work)
    timed, read = [], []
    for _ in range(7):
        timed.append(timer.milliseconds(work) / 1e3)
        before = clock()
        work()
        read.append(clock() - before)
    assert median(read) * per == pytest.approx(median(timed), rel=0.1)


def test_canaries_do_the_work_that_they_are_credited_with(cuda: CudaDevice) -> None:
    used = cuda.used_bytes()
    with closing(Canaries(cuda)) as canaries:
        works = canaries.works()
        assert set(works) == {"copy", "matvec", "empty_graph"}
        before = canaries.stream.counters
        for work in works.values():
            work.run()
        canaries.stream.synchronize()
        after = canaries.stream.counters
        assert (after.launches - before.launches, after.graph_launches - before.graph_launches) == (2, 1)
        assert works["copy"].bytes == 2 * works["matvec"].bytes > 8 * cuda.l2_bytes
    assert cuda.used_bytes() == used
