"""A launch: arguments checked against the kernel's own signature, and packed for the runtime."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.device import KernelArgument, LaunchError
from engine.devices.host import native
from engine.devices.host.memory import HostBuffer
from engine.devices.host.module import KernelModule, Parameter

MAX_THREADS = 1024
MAX_SHARED = 227 * 1024  # of a block, as DYNAMIC_BYTES of csrc/state.h has room for
MAX_GRID = 2**31 - 1

Scalar = np.int32 | np.uint32 | np.int64 | np.float32
_SCALARS: dict[tuple[str, int], type[Scalar]] = {
    ("i", 4): np.int32,
    ("u", 4): np.uint32,
    ("i", 8): np.int64,
    ("f", 4): np.float32,
}


@dataclass(frozen=True, kw_only=True)
class Launch:
    """One checked launch. Holds its buffers, so that their memory outlives a recording."""

    module: KernelModule
    kernel: str
    grid: int
    block: int
    shared: int
    args: tuple[KernelArgument, ...]
    buffers: tuple[HostBuffer, ...]
    words: ctypes.Array[ctypes.c_uint64]  # the argument values, 8 bytes each
    values: ctypes.Array[ctypes.c_void_p]  # their addresses
    touched: ctypes.Array[native.Argument]

    @property
    def name(self) -> str:
        return f"{self.module.name}.{self.kernel}"

    def node(self, worker: int) -> native.Node:
        copy = self.module.copies[worker]
        return native.Node(
            copy.address,
            copy.thunks[self.kernel],
            ctypes.addressof(self.values),
            ctypes.addressof(self.touched),
            len(self.buffers),
            self.grid,
            self.block,
            self.shared,
        )


def _word(where: str, parameter: Parameter, value: KernelArgument) -> int:
    if parameter.kind in "pc":
        if value is None:
            return 0
        if not isinstance(value, HostBuffer):
            raise LaunchError(f"{where} is {parameter}, {type(value).__name__} given")
        if not value.allocation.alive:
            raise LaunchError(f"{where}: buffer '{value.name}' was freed")
        return value.ptr
    expected = _SCALARS.get((parameter.kind, parameter.bytes))
    if expected is None or type(value) is not expected:
        wanted = parameter if expected is None else expected.__name__
        raise LaunchError(f"{where} is {wanted}, {type(value).__name__} given")
    return int.from_bytes(value.tobytes(), "little")


def _touched(buffer: HostBuffer, writable: bool) -> native.Argument:
    place = buffer.allocation.place
    return native.Argument(buffer.ptr, buffer.nbytes, place.start, place.nbytes, place.number, int(writable))


def prepare(
    module: KernelModule,
    kernel: str,
    *,
    grid: int,
    block: int,
    shared: int,
    args: Sequence[KernelArgument],
    shared_limit: int,
) -> Launch:
    """Raises LaunchError, naming kernel and argument, for whatever does not fit."""
    name = f"{module.name}.{kernel}"
    signature = module.signatures.get(kernel)
    if signature is None:
        raise LaunchError(f"{name}: no such kernel; {module.name}.cu has {', '.join(module.signatures)}")
    if not 1 <= grid <= MAX_GRID:
        raise LaunchError(f"{name}: grid {grid}, expected 1 .. {MAX_GRID}")
    if not (1 <= block <= MAX_THREADS and block % 32 == 0):
        raise LaunchError(f"{name}: block {block}, expected a multiple of 32 up to {MAX_THREADS}")
    static = module.static_shared_bytes(kernel)
    if shared < 0 or not static + shared <= shared_limit:
        raise LaunchError(
            f"{name}: {shared} + {static} bytes of shared memory (dynamic + static), at most {shared_limit}"
        )
    if len(args) != len(signature):
        raise LaunchError(f"{name}: {len(args)} arguments given, the kernel has {len(signature)}")
    pairs = list(zip(signature, args, strict=True))
    words = (ctypes.c_uint64 * max(1, len(args)))(
        *[_word(f"{name}: argument {i}", parameter, value) for i, (parameter, value) in enumerate(pairs)]
    )
    start = ctypes.addressof(words)
    buffers = [(value, parameter.kind == "p") for parameter, value in pairs if isinstance(value, HostBuffer)]
    return Launch(
        module=module,
        kernel=kernel,
        grid=grid,
        block=block,
        shared=shared,
        args=tuple(args),
        buffers=tuple(buffer for buffer, _ in buffers),
        words=words,
        values=(ctypes.c_void_p * max(1, len(args)))(*[start + 8 * i for i in range(len(args))]),
        touched=(native.Argument * max(1, len(buffers)))(*[_touched(*pair) for pair in buffers]),
    )
