"""What engine.device promises, on every device."""

from __future__ import annotations

import numpy as np

from engine.device import Device


def test_write_read_fill(device: Device) -> None:
    values = np.arange(12, dtype=np.int32).reshape(3, 4)
    buffer = device.upload(values, "x")
    assert np.array_equal(buffer.read(), values)
    buffer.fill(0xFF)
    assert np.array_equal(buffer.read(), np.full((3, 4), -1, np.int32))
    device.free(buffer)
