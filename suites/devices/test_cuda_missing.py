"""What is missing on a machine is said in one line, and told apart; nothing is imported before it is asked for."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from engine.devices import open_device
from engine.devices.cuda import support
from reference.spec.errors import NoDevice


class FakeRuntimeError(RuntimeError):
    """Stands for cupy.cuda.runtime.CUDARuntimeError."""


def _fake_modules(monkeypatch: pytest.MonkeyPatch, *, missing: str = "", error: str = "", count: int = 1) -> None:
    """A machine with a driver on which `missing` is not installed, or whose driver answers with `error`."""

    def get_device_count() -> int:
        if error:
            raise FakeRuntimeError(error)
        return count

    def import_module(name: str) -> ModuleType | SimpleNamespace:
        if name == missing:
            raise ModuleNotFoundError(name)
        runtime = SimpleNamespace(getDeviceCount=get_device_count, CUDARuntimeError=FakeRuntimeError)
        return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime))

    monkeypatch.setattr(support, "_driver_installed", lambda: True)
    monkeypatch.setattr(importlib, "import_module", import_module)


def _refusal() -> str:
    with pytest.raises(NoDevice) as raised:
        open_device("cuda")
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith("device cuda: ")
    return text


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "DRIVER_LIBRARY", "libcuda-of-another-machine.so.1")
    assert "no NVIDIA driver" in _refusal()


@pytest.mark.parametrize(("module", "name"), [("cupy", "CuPy"), ("cuda.bindings.driver", "cuda-bindings")])
def test_no_package(monkeypatch: pytest.MonkeyPatch, module: str, name: str) -> None:
    _fake_modules(monkeypatch, missing=module)
    text = _refusal()
    assert f"{name} is not installed" in text
    assert "--extra cuda13" in text


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("cudaErrorNoDevice: no CUDA-capable device is detected", "sees no GPU"),
        ("cudaErrorInsufficientDriver: CUDA driver version is insufficient", "too old"),
        ("cudaErrorUnknown: unknown error", "does not answer (cudaErrorUnknown"),
    ],
)
def test_driver_refuses(monkeypatch: pytest.MonkeyPatch, error: str, said: str) -> None:
    _fake_modules(monkeypatch, error=error)
    assert said in _refusal()


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_modules(monkeypatch, count=0)
    assert "sees no GPU" in _refusal()


def test_import_needs_no_gpu_package() -> None:
    code = "import sys, engine.devices, engine.devices.cuda; print([m for m in ('cupy', 'cuda') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
