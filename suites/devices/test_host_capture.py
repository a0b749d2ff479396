"""Recording: what may be asked for during it, what a replay does, what must not be frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.device import CaptureError, Counters, DeviceError
from engine.devices import StaleGraph
from engine.devices.host import HostBuffer, HostDevice, HostStream, frozen_values
from suites.conftest import TEST_KERNELS


@pytest.fixture
def host() -> Iterator[HostDevice]:
    opened = HostDevice(kernel_dirs=(TEST_KERNELS,))
    yield opened
    opened.close()


class Steps:
    """Counts on the device: `step` writes the position into the trail and moves it on."""

    def __init__(self, host: HostDevice) -> None:
        self.host = host
        self.stream = host.stream()
        self.position = host.upload(np.zeros(1, np.int32), "position")
        self.trail = host.alloc((16,), np.int32, "trail")

    def step(self, stream: HostStream | None = None) -> None:
        (stream or self.stream).launch("sound", "step", grid=1, block=32, args=(self.position, self.trail))


@pytest.fixture
def steps(host: HostDevice) -> Steps:
    return Steps(host)


def test_capture_runs_nothing_and_replay_everything(steps: Steps) -> None:
    steps.step()
    with steps.stream.capture() as capture:
        steps.step()
        steps.step()
    assert int(steps.position.read()[0]) == 1
    assert steps.stream.counters == Counters(launches=1, graph_launches=0, graph_kernels=0)
    assert (capture.graph.kernels, capture.graph.programmatic_edges) == (2, None)
    for _ in range(3):
        capture.graph.launch()
    assert int(steps.position.read()[0]) == 7
    assert steps.stream.counters == Counters(launches=1, graph_launches=3, graph_kernels=6)


FORBIDDEN: dict[str, Callable[[Steps], object]] = {
    "alloc": lambda s: s.host.alloc((1,), np.int32, "late"),
    "upload": lambda s: s.host.upload(np.zeros(1, np.int32), "late"),
    "free": lambda s: s.host.free(s.trail),
    "read": lambda s: s.position.read(),
    "write": lambda s: s.position.write(np.zeros(1, np.int32)),
    "fill": lambda s: s.position.fill(0),
    "synchronize": lambda s: s.stream.synchronize(),
    "other stream": lambda s: s.host.stream().synchronize(),
    "capture": lambda s: s.stream.capture().__enter__(),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_only_launches_are_recorded(steps: Steps, what: str) -> None:
    with pytest.raises(CaptureError), steps.stream.capture() as capture:  # noqa: PT012
        steps.step()
        FORBIDDEN[what](steps)
    with pytest.raises(CaptureError, match="no graph"):
        _ = capture.graph
    steps.step()
    assert int(steps.position.read()[0]) == 1, "the stream goes on, and nothing of the recording ran"
    with steps.stream.capture() as again:
        steps.step()
    assert again.graph.kernels == 1


def test_a_swallowed_error_still_voids_the_recording(steps: Steps) -> None:
    with pytest.raises(CaptureError, match=r"void: an allocation \('late'\)"), steps.stream.capture():  # noqa: PT012
        steps.step()
        with pytest.raises(CaptureError):
            steps.host.alloc((1,), np.int32, "late")
        steps.step()


def test_any_exception_discards_the_recording(steps: Steps) -> None:
    with pytest.raises(ZeroDivisionError), steps.stream.capture():  # noqa: PT012
        steps.step()
        _ = 1 // 0
    steps.step()
    assert int(steps.position.read()[0]) == 1


def test_two_streams_capture_side_by_side(host: HostDevice) -> None:
    one, two = Steps(host), Steps(host)
    with one.stream.capture() as first, two.stream.capture() as second:
        one.step()
        two.step()
        two.step()
    assert (first.graph.kernels, second.graph.kernels) == (1, 2)
    second.graph.launch()
    assert (int(one.position.read()[0]), int(two.position.read()[0])) == (0, 2)


def test_another_stream_launches_meanwhile(host: HostDevice) -> None:
    recorded, direct = Steps(host), Steps(host)
    with recorded.stream.capture() as capture:
        recorded.step()
        direct.step()
    assert (int(recorded.position.read()[0]), int(direct.position.read()[0])) == (0, 1)
    assert capture.graph.kernels == 1


def test_graph_launch_is_not_recorded(steps: Steps) -> None:
    with steps.stream.capture() as capture:
        steps.step()
    with pytest.raises(CaptureError, match="a graph launch"), steps.stream.capture():
        capture.graph.launch()


def test_graph_names_what_was_freed(steps: Steps) -> None:
    with steps.stream.capture() as capture:
        steps.step()
    steps.host.free(steps.trail)
    with pytest.raises(StaleGraph, match="freed after its capture: trail"):
        capture.graph.launch()


def test_graph_keeps_its_buffers(host: HostDevice) -> None:
    steps = Steps(host)
    position, stream = steps.position, steps.stream
    with stream.capture() as capture:
        steps.step()
    used = host.used_bytes()
    del steps
    assert host.used_bytes() == used
    capture.graph.launch()
    assert int(position.read()[0]) == 1
    capture.graph.close()
    assert host.used_bytes() == used - host.alignment, "the trail is nobody's any more"
    with pytest.raises(DeviceError, match="closed graph"):
        capture.graph.launch()


def test_failing_node_is_named(host: HostDevice) -> None:
    stream, x = host.stream(), host.upload(np.zeros(1024, np.float32), "x")
    y = host.alloc((8,), np.float32, "y")
    with stream.capture() as capture:
        for kernel in ("null_pointer_sound", "null_pointer"):
            stream.launch("faults", kernel, grid=1, block=256, args=(y, x, np.int32(256)))
    with pytest.raises(DeviceError, match=r"^graph node 1, faults.null_pointer: access to address 0"):
        capture.graph.launch()
    assert stream.counters.graph_launches == 0


def test_permissions_change_from_node_to_node() -> None:
    host = HostDevice(mode="check", kernel_dirs=(TEST_KERNELS,))
    stream, x = host.stream(), host.upload(np.ones((4, 256), np.float32), "x")
    one, two = host.alloc((8,), np.float32, "one"), host.alloc((8,), np.float32, "two")
    with stream.capture() as capture:
        stream.launch("faults", "writes_const_sound", grid=1, block=256, args=(one, x, np.int32(256)))
        stream.launch("faults", "writes_const", grid=1, block=256, args=(two, one, np.int32(256)))
    with pytest.raises(DeviceError, match=r"graph node 1, faults.writes_const: write to a const argument, .* of 'one'"):
        capture.graph.launch()
    host.close()


class Frozen(Steps):
    """Launches with values of the host's position, as a graph must not."""

    def __init__(self, host: HostDevice) -> None:
        super().__init__(host)
        self.x, self.out = host.upload(np.ones(256, np.float32), "x"), host.alloc((256,), np.float32, "out")
        self.other = host.alloc((256,), np.float32, "other")
        self.host_position = 0

    def at(self, position: int) -> Callable[[], None]:
        def set_position() -> None:
            self.host_position = position

        return set_position

    def scale(self, out: HostBuffer, n: int, grid: int) -> None:
        args = (out, self.x, self.x, np.int32(n), np.float32(1))
        self.stream.launch("sound", "scale_add", grid=grid, block=32, args=args)


@pytest.fixture
def frozen(host: HostDevice) -> Frozen:
    return Frozen(host)


def test_frozen_values_are_named(frozen: Frozen) -> None:
    def step() -> None:
        n = frozen.host_position
        frozen.step()
        frozen.scale(frozen.out, 10 + n, 1)
        frozen.scale(frozen.out, 10, 1 + n)
        frozen.scale(frozen.other if n else frozen.out, 10, 1)

    found = frozen_values(frozen.host, step, [frozen.at(0), frozen.at(1)])
    assert found[:2] == [
        "state 1, launch 1 sound.scale_add: argument 3 10 -> 11",
        "state 1, launch 2 sound.scale_add: grid 1 -> 2",
    ]
    assert found[2].startswith("state 1, launch 3 sound.scale_add: argument 0 'out' at")
    assert len(found) == 3
    assert int(frozen.position.read()[0]) == 0, "nothing ran"


def test_frozen_values_finds_another_list(frozen: Frozen) -> None:
    def step() -> None:
        for _ in range(frozen.host_position):
            frozen.step()

    assert frozen_values(frozen.host, step, [frozen.at(1), frozen.at(2)]) == [
        "state 1: another list of launches (1 and 2)"
    ]


def test_sound_region_has_no_frozen_values(frozen: Frozen) -> None:
    def step() -> None:
        frozen.step()
        frozen.scale(frozen.out, 10, 3)

    assert frozen_values(frozen.host, step, [frozen.at(n) for n in range(4)]) == []


def test_a_traced_region_only_launches(frozen: Frozen) -> None:
    with pytest.raises(CaptureError, match="the device traces launches"):
        frozen_values(frozen.host, lambda: print(frozen.position.read()), [frozen.at(0)])
    frozen.step()
    assert int(frozen.position.read()[0]) == 1
