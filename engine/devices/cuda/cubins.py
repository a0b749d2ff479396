"""Cubins of kernel files for one architecture: compiled in parallel, kept by content in a cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

from engine.device import DeviceError
from engine.devices.cuda.nvrtc import OPTIONS, Source, compile_source, nvrtc_version


class Cubins:
    """Machine code by module name. The first request starts the compilation of every module, several at a time."""

    def __init__(
        self, sources: Mapping[str, Source], *, architecture: str, cache_dir: Path, options: Sequence[str] = OPTIONS
    ) -> None:
        self._sources = sources
        self._architecture = architecture
        self._options = tuple(options)
        self._cache_dir = cache_dir
        self._lock = Lock()
        self._cubins: dict[str, Future[bytes]] = {}

    def __getitem__(self, module: str) -> bytes:
        """The cubin of <module>.cu. Raises DeviceError, with the compiler's log if it does not compile."""
        if module not in self._sources:
            raise DeviceError(f"module {module}: no kernel file {module}.cu")
        self._start()
        return self._cubins[module].result()

    def precompile(self) -> None:
        """Compile every module now. Raises DeviceError for the first that does not."""
        for module in self._sources:
            self[module]

    def _start(self) -> None:
        with self._lock:
            if self._cubins:
                return
            pool = ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0)), thread_name_prefix="nvrtc")
            self._cubins = {module: pool.submit(self._load, source) for module, source in self._sources.items()}
            pool.shutdown(wait=False)

    def _load(self, source: Source) -> bytes:
        path = self._cache_dir / f"{source_key(source, self._architecture, self._options)}.cubin"
        try:
            return path.read_bytes()
        except OSError:
            cubin = compile_source(source, architecture=self._architecture, options=self._options).cubin
            keep(path, cubin)
            return cubin


def source_key(source: Source, architecture: str, options: Sequence[str] = OPTIONS) -> str:
    """Everything that can change the machine code, hashed."""
    content = [source.name, source.text, sorted(source.headers.items()), architecture, tuple(options), nvrtc_version()]
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
