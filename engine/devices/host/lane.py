"""A lane of the host device: a copy has ended when `send` returns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engine.devices.host.device import HostDevice


class HostLane:
    """See engine.device.Lane."""

    def __init__(self, device: HostDevice, nbytes: int, name: str) -> None:
        self._device = device
        self.host = np.empty(nbytes, np.uint8)
        self.buffer = device.alloc((nbytes,), np.uint8, name)
        self.stream = device.stream()

    def send(self, nbytes: int) -> None:
        self.buffer.rows(0, nbytes).write(self.host[:nbytes])

    def wait(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        self._device.free(self.buffer)
