"""What engine.device promises, on every device."""

from __future__ import annotations

import numpy as np
import pytest

from engine.device import CaptureError, Device


def test_write_read_fill(device: Device) -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    buffer = device.upload(values, "x")
    assert np.array_equal(buffer.read(), values)
    buffer.fill(0xFF)
    assert np.array_equal(buffer.read(), np.full((3, 4), -1, np.int32))
    device.free(buffer)


def test_what_a_lane_sends_is_on_the_device_when_it_has_waited(device: Device) -> None:
    before = device.used_bytes()
    lane = device.lane(1000, "lane")
    assert lane.host.shape == (1000,)
    lane.buffer.fill(0xFF)
    for length, value in ((1000, 1), (10, 2)):
        lane.wait()
        lane.host[:] = value
        lane.send(length)
    lane.wait()
    expected = np.repeat(np.array([2, 1], np.uint8), (10, 990))
    assert np.array_equal(lane.buffer.read(), expected)
    lane.close()
    assert device.used_bytes() == before


def test_a_lane_is_refused_during_capture(device: Device) -> None:
    lane, stream = device.lane(16, "lane"), device.stream()
    with pytest.raises(CaptureError), stream.capture():
        device.lane(16, "another")
    with pytest.raises(CaptureError), stream.capture():
        lane.send(16)
    lane.close()
