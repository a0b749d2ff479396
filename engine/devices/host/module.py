"""Loading: one runtime per worker, one copy of each kernel module per worker."""

from __future__ import annotations

import _ctypes
import ctypes
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.devices.host import native
from engine.devices.host.build import Builder
from engine.devices.host.elf import SharedVariable, shared_variables

_PARAMETER = re.compile(r"([a-z])(\d+),")


@dataclass(frozen=True, kw_only=True)
class Parameter:
    kind: str  # p pointer, c pointer to const, f float, i signed, u unsigned, s struct
    bytes: int

    def __str__(self) -> str:
        words = {"p": "a pointer", "c": "a pointer to const", "s": "a struct"}
        numbers = {"f": "float", "i": "int", "u": "uint"}
        return words.get(self.kind) or f"{numbers[self.kind]}{8 * self.bytes}"


class LoadedModule:
    """One worker's copy of a compiled kernel file."""

    def __init__(self, builder: Builder, path: Path, runtime: ctypes.CDLL) -> None:
        with builder.private_copy(path) as copy:
            self._library = ctypes.CDLL(str(copy))
        entry = self._library.simt_module
        entry.restype = ctypes.POINTER(native.Module)
        self.structure: native.Module = entry().contents
        self.address = ctypes.addressof(self.structure)
        self.base: int = self.structure.image_start
        self.shared = shared_variables(path)
        self._ranges = (native.Range * max(1, len(self.shared)))(
            *[native.Range(self.base + variable.offset, variable.bytes) for variable in self.shared]
        )
        runtime.simt_attach(ctypes.c_void_p(self.address), ctypes.byref(self._ranges), ctypes.c_int64(len(self.shared)))
        rows = [self.structure.kernels[i] for i in range(self.structure.kernel_count)]
        self.thunks: dict[str, int] = {row.name.decode(): row.thunk for row in rows}
        self.static_bytes = {name: sum(v.bytes for v in self.shared if v.owner == name) for name in self.thunks}
        self.signatures = {
            row.name.decode(): tuple(
                Parameter(kind=kind, bytes=int(size)) for kind, size in _PARAMETER.findall(row.signature.decode())
            )
            for row in rows
        }

    def close(self) -> None:
        _ctypes.dlclose(self._library._handle)


@dataclass(frozen=True, kw_only=True)
class KernelModule:
    """A compiled kernel file, loaded once per worker."""

    name: str
    path: Path
    copies: tuple[LoadedModule, ...]

    @property
    def signatures(self) -> dict[str, tuple[Parameter, ...]]:
        return self.copies[0].signatures

    def static_shared_bytes(self, kernel: str) -> int:
        return self.copies[0].static_bytes[kernel]

    def shared_variable_at(self, worker: int, address: int) -> tuple[SharedVariable, int] | None:
        """The __shared__ variable that holds `address`, and the offset in it."""
        copy = self.copies[worker]
        for variable in copy.shared:
            offset = address - copy.base - variable.offset
            if 0 <= offset < variable.bytes:
                return variable, offset
        return None

    def line_of(self, worker: int, pc: int) -> str:
        """Source file and line of an instruction, as `file.cu:33`."""
        offset = pc - self.copies[worker].base
        command = ["addr2line", "-e", str(self.path), hex(offset)]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except FileNotFoundError:
            answer = ""
        where = answer.split()[0] if answer.split() else "?"
        return f"{self.name}.cu+{offset:#x}" if where.startswith("?") else Path(where).name

    def close(self) -> None:
        for copy in self.copies:
            copy.close()


class Worker:
    """One runtime: the scheduler, stacks and checker of one host thread."""

    def __init__(self, builder: Builder, faults: ctypes.CDLL) -> None:
        with builder.private_copy(builder.runtime()) as copy:
            self.library = ctypes.CDLL(str(copy))
        self.library.simt_error.restype = ctypes.c_char_p
        self.library.simt_find_damage.restype = ctypes.c_void_p
        self.library.simt_runtime_start(faults.simt_faults_enter, faults.simt_faults_leave)

    def error(self) -> str:
        text: bytes = self.library.simt_error()
        return text.decode()

    def write_guards(self, start: int, nbytes: int) -> None:
        self.library.simt_write_guards(ctypes.c_void_p(start), ctypes.c_uint64(nbytes))

    def counters(self) -> native.Counters:
        counters = native.Counters()
        self.library.simt_counters(ctypes.byref(counters))
        return counters

    def close(self) -> None:
        self.library.simt_runtime_stop()
        _ctypes.dlclose(self.library._handle)
