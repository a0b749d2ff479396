"""Compiling kernel files and the runtime into a cache that is keyed by content and shared by processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from engine.device import DeviceError
from engine.devices.host.toolchain import Compiler, Mode
from reference.spec.errors import BadInput

CSRC = Path(__file__).parent / "csrc"

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', re.MULTILINE)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
_KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\s*\([^)]*\)\s*)?(\w+)\s*\(')


def default_cache_dir() -> Path:
    return Path.home() / ".cache" / "zeroulp"


class Builder:
    """Gives the path of the shared object of a kernel file, compiling it unless the cache has it.

    The key is the content of the file and of every header it includes, the flags and the compiler's version.
    Files appear in the cache by rename only, and a lock per key keeps two processes from compiling the same thing.
    """

    def __init__(self, compiler: Compiler, cache_dir: Path, kernel_dirs: Sequence[Path]) -> None:
        self._compiler = compiler
        self.folder = cache_dir / "host"
        self._kernel_dirs = tuple(kernel_dirs)
        try:
            (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadInput(
                f"kernel cache {self.folder}: cannot be made ({error.strerror}); a writable folder is needed"
            ) from None

    def kernel_files(self) -> dict[str, Path]:
        """Every kernel file by module name. A name in two folders is an error."""
        files: dict[str, Path] = {}
        for path in (path for folder in self._kernel_dirs for path in sorted(folder.glob("*.cu"))):
            if path.stem in files:
                raise DeviceError(f"module {path.stem}: both {files[path.stem]} and {path}")
            files[path.stem] = path
        return files

    def kernels(self, path: Path, mode: Mode) -> Path:
        return self._cached(path, self._compiler.flags(mode), f"{path.stem}-{mode}", self._compile_kernels)

    def runtime(self) -> Path:
        return self._cached(CSRC / "runtime.cpp", self._compiler.runtime_flags, "runtime", self._compile_plain)

    def faults(self) -> Path:
        return self._cached(CSRC / "faults.cpp", self._compiler.runtime_flags, "faults", self._compile_plain)

    def all(self, mode: Mode) -> None:
        """Compile everything, as many at once as the process has CPUs."""
        jobs: list[Callable[[], Path]] = [self.runtime, self.faults]
        jobs += [lambda path=path: self.kernels(path, mode) for path in self.kernel_files().values()]  # type: ignore[misc]
        with ThreadPoolExecutor(max_workers=max(1, len(os.sched_getaffinity(0)))) as pool:
            for done in [pool.submit(job) for job in jobs]:
                done.result()

    def _cached(
        self, source: Path, flags: Sequence[str], label: str, compile_to: Callable[[Path, Sequence[str], Path], None]
    ) -> Path:
        wrapper = () if source.parent == CSRC else (CSRC / "language.h", CSRC / "module.h")
        files = self._with_includes((source, *wrapper))
        key = hashlib.sha256()
        for part in (
            *(path.read_bytes() for path in files),
            self._compiler.version.encode(),
            "\0".join(flags).encode(),
        ):
            key.update(hashlib.sha256(part).digest())
        target = self.folder / f"{label}-{key.hexdigest()[:24]}.so"
        if not target.exists():
            with _locked(target.with_suffix(".lock")):
                if not target.exists():  # another process may have made it meanwhile
                    with tempfile.TemporaryDirectory(dir=self.folder / "tmp") as scratch:
                        out = Path(scratch) / "out.so"
                        compile_to(source, flags, out)
                        os.replace(out, target)
        return target

    def _with_includes(self, files: Sequence[Path]) -> list[Path]:
        """The files and, in the order first seen, every header that they include by a quoted name."""
        found = list(files)
        for path in found:  # grows while it is walked
            for name in _INCLUDE.findall(path.read_text()):
                beside = (folder / name for folder in (path.parent, CSRC, *self._kernel_dirs))
                header = next((candidate for candidate in beside if candidate.exists()), None)
                if header is not None and header not in found:
                    found.append(header)
        return found

    def _compile_plain(self, source: Path, flags: Sequence[str], out: Path) -> None:
        self._run([*flags, "-shared", str(source), "-o", str(out), "-lm", "-lpthread"], source)

    def _compile_kernels(self, source: Path, flags: Sequence[str], out: Path) -> None:
        includes = [f"-I{folder}" for folder in (CSRC, *self._kernel_dirs)]
        text = self._run(["-E", "-P", "-x", "c++", *includes, str(source)], source)  # kernels may come out of macros
        names = list(dict.fromkeys(_KERNEL.findall(_COMMENT.sub("", text))))
        if not names:
            raise DeviceError(f'{source.name}: no kernel (extern "C" __global__ void name) in it')
        unit = out.with_name("unit.cpp")
        listed = " ".join(f"X({name})" for name in names)
        unit.write_text(
            f"#define ZEROULP_HOST 1\n#define SIMT_KERNELS(X) {listed}\n"
            f'#include "language.h"\n#include "{source.resolve()}"\n#include "module.h"\n'
        )
        compiled = unit.with_suffix(".o")
        self._run([*flags, *includes, "-c", str(unit), "-o", str(compiled)], source)
        # Linked apart: given the checker's flags, the compiler would add a sanitizer's own library.
        libraries = ("-nostdlib", "-Wl,-z,defs", "-lm", "-lc", "-lgcc")
        self._run(["-shared", str(compiled), "-o", str(out), *libraries], source)

    def _run(self, arguments: Sequence[str], source: Path) -> str:
        done = subprocess.run([self._compiler.path, *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [
                line for line in done.stderr.splitlines() if "error:" in line or "undefined" in line
            ] or done.stderr.splitlines()
            raise DeviceError(f"{source.name} does not compile: {'; '.join(errors[:3])}")
        return done.stdout

    @contextmanager
    def private_copy(self, path: Path) -> Iterator[Path]:
        """A copy to load: its statics belong to one worker. The file may go as soon as it is mapped."""
        handle, name = tempfile.mkstemp(suffix=".so", dir=self.folder / "tmp")
        os.close(handle)
        shutil.copyfile(path, name)
        try:
            yield Path(name)
        finally:
            os.unlink(name)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
