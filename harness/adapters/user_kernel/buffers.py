"""Device memory with poison in front of and behind it, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from engine.device import Buffer, Device

MARGIN = 4096  # bytes on each side; a multiple of every alignment that a kernel may count on
POISON = 0xFF  # every float is a NaN, every whole number -1 or the largest
# Around outputs: 1.3e36 as a float. A kernel that goes past the end of an input too computes the very NaN of POISON.
MARK = 0x7B


@dataclass(frozen=True, kw_only=True)
class Guarded:
    """`inside` is what the kernel gets; what is read outside of it is poison, what is written there is found."""

    whole: Buffer
    inside: Buffer
    around: int  # the byte that surrounds it

    @staticmethod
    def output(device: Device, shape: Sequence[int], dtype: DTypeLike, name: str, *, unlike: NDArray[Any]) -> Guarded:
        """Poison inside, and another where the right answer, `unlike`, is what POISON reads as: a NaN, or -1."""
        guarded = _allocated(device, shape, dtype, name, MARK)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        poison, mark = (np.full(size, byte, np.uint8).view(dtype).reshape(shape) for byte in (POISON, MARK))
        hidden = (unlike == poison) | (np.isnan(unlike) & np.isnan(poison))
        poison[hidden] = mark[hidden]
        guarded.inside.write(poison)
        return guarded

    @staticmethod
    def upload(device: Device, values: NDArray[Any], name: str) -> Guarded:
        guarded = _allocated(device, values.shape, values.dtype, name, POISON)
        guarded.inside.write(np.ascontiguousarray(values))
        return guarded

    def read(self) -> NDArray[Any]:
        return self.inside.read()

    def damage(self) -> str:
        """Where its surroundings were overwritten: "4 bytes behind the end"; empty if nowhere."""
        around = self.whole.read().view(np.uint8)
        front = np.flatnonzero(around[:MARGIN] != self.around)
        back = np.flatnonzero(around[len(around) - MARGIN :] != self.around)
        parts = [f"{front.size} bytes in front of the start"] if front.size else []
        parts += [f"{back.size} bytes behind the end"] if back.size else []
        return " and ".join(parts)


def _allocated(device: Device, shape: Sequence[int], dtype: DTypeLike, name: str, around: int) -> Guarded:
    count, margin = math.prod(shape), MARGIN // np.dtype(dtype).itemsize
    whole = device.alloc((count + 2 * margin,), dtype, name)
    whole.fill(around)
    return Guarded(whole=whole, inside=whole.rows(margin, margin + count).reshape(*shape), around=around)
