"""Cubins of a kernel folder for one architecture: compiled in parallel, kept by content in a cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from engine.device import DeviceError
from engine.devices.cuda.nvrtc import OPTIONS, Source, compile_source, kernel_names, nvrtc_version, read_source


class Cubins:
    """Machine code by module name. The first request starts the compilation of every module of the folder."""

    def __init__(self, folder: Path, *, architecture: str, cache: Path) -> None:
        self._folder = folder
        self._architecture = architecture
        self._cache = cache
        self._lock = Lock()
        self._cubins: dict[str, Future[bytes]] = {}

    def __getitem__(self, module: str) -> bytes:
        """The cubin of engine/kernels/<module>.cu. Raises DeviceError with the compiler's log."""
        with self._lock:
            if not self._cubins:
                self._start()
        if module not in self._cubins:
            raise DeviceError(f"no kernel file {module}.cu in {self._folder}")
        return self._cubins[module].result()

    def _start(self) -> None:
        pool = ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="nvrtc")
        for name in kernel_names(self._folder):
            self._cubins[name] = pool.submit(self._load, name)
        pool.shutdown(wait=False)

    def _load(self, module: str) -> bytes:
        source = read_source(self._folder, module)
        path = self._cache / f"{source_key(source, self._architecture)}.cubin"
        try:
            return path.read_bytes()
        except OSError:
            cubin = compile_source(source, architecture=self._architecture).cubin
            keep(path, cubin)
            return cubin


def source_key(source: Source, architecture: str) -> str:
    """Everything that can change the machine code, hashed."""
    content = [source.name, source.text, sorted(source.headers.items()), architecture, OPTIONS, nvrtc_version()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def keep(path: Path, content: bytes) -> None:
    """Write whole or not at all. A cache that cannot be written costs time, not correctness, so that is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    except OSError:
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
