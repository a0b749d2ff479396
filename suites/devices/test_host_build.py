"""Compiling: once, by content, safe among processes, with one line for what the user can mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.device import DeviceError
from engine.devices.host import HostDevice
from engine.devices.host.toolchain import Mode
from reference.spec.errors import BadInput, NoDevice
from suites.conftest import TEST_KERNELS

KERNEL = 'extern "C" __global__ void answer(int* out) { if (threadIdx.x == 0) out[0] = VALUE; }\n'


def _answer(folder: Path, cache: Path) -> int:
    device = HostDevice(cache_dir=cache, kernel_dirs=(folder,))
    out = device.alloc((1,), np.int32, "out")
    device.stream().launch("question", "answer", grid=1, block=32, args=(out,))
    value = int(out.read()[0])
    device.close()
    return value


def _objects(cache: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (cache / "host").glob("question*.so")}


def test_compiled_once_and_again_when_content_changes(tmp_path: Path) -> None:
    kernels, cache = tmp_path / "kernels", tmp_path / "cache"
    kernels.mkdir()
    (kernels / "value.cuh").write_text("#define VALUE 41\n")
    (kernels / "question.cu").write_text('#include "value.cuh"\n' + KERNEL)
    assert _answer(kernels, cache) == 41
    first = _objects(cache)
    assert _answer(kernels, cache) == 41
    assert _objects(cache) == first
    (kernels / "value.cuh").write_text("#define VALUE 42\n")
    assert _answer(kernels, cache) == 42
    assert len(_objects(cache)) == 2
    assert list((cache / "host" / "tmp").iterdir()) == [], "nothing is left lying about"


def test_kernels_out_of_macros(tmp_path: Path) -> None:
    (tmp_path / "question.cu").write_text(
        "#define MAKE(name, value) \\\n"
        '  extern "C" __global__ void __launch_bounds__(32) name(int* out) { out[0] = value; }\n'
        'MAKE(answer, 7)\n// extern "C" __global__ void not_this(int* out)\n'
    )
    assert _answer(tmp_path, tmp_path / "cache") == 7


CHILD = """
import sys
from pathlib import Path
from suites.devices.test_host_build import _answer
print(_answer(Path(sys.argv[1]), Path(sys.argv[2])))
"""


def test_two_processes_share_the_cache(tmp_path: Path) -> None:
    """Both start with an empty cache at the same time; each gets whole files."""
    kernels, cache = tmp_path / "kernels", tmp_path / "cache"
    kernels.mkdir()
    (kernels / "question.cu").write_text(KERNEL.replace("VALUE", "9"))
    command = [sys.executable, "-c", CHILD, str(kernels), str(cache)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [child.communicate(timeout=120)[0].strip() for child in children] == ["9", "9"]
    assert len(_objects(cache)) == 1


def test_half_a_file_is_never_seen(tmp_path: Path) -> None:
    """A compilation that dies leaves nothing under the name that would be loaded."""
    (tmp_path / "question.cu").write_text(KERNEL.replace("VALUE", "nonsense"))
    for _ in range(2):
        with pytest.raises(DeviceError, match=r"^question.cu does not compile: .*'?nonsense'?"):
            _answer(tmp_path, tmp_path / "cache")
    assert _objects(tmp_path / "cache") == {}


def test_functions_that_break_numerics_do_not_compile(tmp_path: Path) -> None:
    for call in ("expf(x)", "fmaxf(x, 0.0f)", "max(x, 0.0f)"):
        (tmp_path / "question.cu").write_text(
            f'extern "C" __global__ void answer(float* out, float x) {{ *out = {call}; }}'
        )
        with pytest.raises(DeviceError, match=r"question.cu does not compile: .*(NUMERICS|NaN)"):
            _answer(tmp_path, tmp_path / "cache")


def test_file_without_kernel(tmp_path: Path) -> None:
    (tmp_path / "question.cu").write_text("__device__ int nothing() { return 0; }")
    with pytest.raises(DeviceError, match=r"question.cu: no kernel"):
        _answer(tmp_path, tmp_path / "cache")


def test_module_in_two_folders(tmp_path: Path) -> None:
    (tmp_path / "sound.cu").write_text(KERNEL.replace("VALUE", "1"))
    device = HostDevice(kernel_dirs=(tmp_path, TEST_KERNELS))
    with pytest.raises(DeviceError, match="module sound: both"):
        device.stream().launch("sound", "answer", grid=1, block=32, args=())
    device.close()


def test_missing_compiler() -> None:
    with pytest.raises(
        NoDevice, match=r"no C\+\+ compiler at nowhere-g\+\+; install one, for example: apt-get install"
    ):
        HostDevice(compiler="nowhere-g++")


def test_no_compiler_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        NoDevice, match=r"no C\+\+ compiler on PATH .*; install one, for example: apt-get install g\+\+"
    ):
        HostDevice()


def test_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match=r"kernel cache .*: cannot be made"):
        HostDevice(cache_dir=tmp_path / "file")


@pytest.mark.parametrize("mode", ["fast", "check"])
def test_every_kernel_compiles(mode: Mode) -> None:
    device = HostDevice(mode=mode)
    device.precompile()
    device.close()
