"""The launchers that all matmuls share: which kernel runs, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.device import Device, LaunchError
from engine.devices import AccessFault
from engine.devices.host import HostDevice
from engine.devices.host.arguments import MAX_SHARED
from engine.launch_log import LaunchLog
from engine.ops import _crossover, _few
from engine.ops._matvec import MINIMA
from engine.ops.matmul import matmul
from engine.ops.matmul_q4_k import matmul_q4_k
from engine.weights import TILES, load_weight
from reference.spec.layout import WEIGHT_TYPES
from suites.kernels.matmuls import case, upload_quantized, values, weight
from suites.models import assert_same_bits


@pytest.mark.parametrize("type_name", TILES)
@pytest.mark.parametrize(("path", "rows", "kernel"), [
    ("auto", 1, "matvec"), ("auto", 2, "few"), ("auto", 8, "few"), ("auto", 9, "gemm"), ("auto", 70, "gemm"),
    ("matvec", 70, "matvec"), ("few", 1, "few"), ("few", 70, "few"), ("gemm", 1, "gemm"),
])  # fmt: skip
def test_the_kernel_of_a_path(
    device: Device, type_name: str, path: str, rows: int, kernel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_crossover, "TABLES", tmp_path)  # without a table of this device
    if kernel == "few" and not WEIGHT_TYPES[type_name].quantized:
        path, kernel = "auto" if path == "auto" else "gemm", "gemm"  # there is none for float weights
    product = case(device, weight(type_name, 33, 256), values(rows, 256))
    out = device.alloc((rows, 33), np.float32, "out")
    log = LaunchLog(device.stream())
    matmul(log, product.x, product.weight, path=path, out=out)  # type: ignore[arg-type]
    assert dict(log.executed()) == {f"matmul_{type_name.lower()}_{kernel}": 1}
    product.close()
    device.free(out)


@pytest.mark.parametrize("items", [{2: 5, 1: 9}, {4: 3}], ids=["products", "swiglu"])
@pytest.mark.parametrize("type_name", [name for name in TILES if WEIGHT_TYPES[name].quantized])
def test_a_few_rows_of_any_width_find_room(device: Device, type_name: str, items: dict[int, int]) -> None:
    """Whether the activations of all rounds lie in a block, of two, or of one beside its sums."""
    stream = device.stream()
    types = [type_name, "Q6_K"] if type_name in MINIMA else [type_name]
    for rows in (1, 2, 4, 5, 8, 9):
        for cols in (128, 1024, 4096, 5120, 12288, 25600):
            cut = _few.geometry(stream, "matmul", types, rows, cols, items=items)
            assert cut.shared <= device.shared_limit, f"{rows} rows of {cols}"
            assert cut.span % (cut.block * 8 // cut.strips) == 0


@pytest.mark.parametrize("type_name", [name for name in TILES if WEIGHT_TYPES[name].quantized])
def test_a_few_rows_where_a_block_is_large(type_name: str) -> None:
    """As on a GPU with more shared memory: 16 warps; one band, several with a short last one; two turns a round."""
    host = HostDevice(shared_limit=MAX_SHARED, multiprocessors=2, mode="check")
    for outputs, cols, rows in ((70, 4096, 4), (33, 2304, 17), (48, 4352, 7), (64, 6400, 2)):
        product = case(host, weight(type_name, outputs, cols), values(rows, cols))
        cut = _few.geometry(host.stream(), "matmul", [type_name], rows, cols, items=_few.items_of([outputs], rows))
        assert cut.block == 512
        got, found = product.expected, ""
        try:
            got = product.run("few")
        except AccessFault as fault:
            found = str(fault)
        assert found == ""
        assert_same_bits(got, product.expected, f"{type_name} {outputs} x {cols}, {rows} rows")
        product.close()
    host.close()


def test_every_fault_is_one_line_that_names_the_op(device: Device) -> None:
    stream = device.stream()
    q4_k, q8_0 = (load_weight(device, weight(name, 33, 256), name) for name in ("Q4_K", "Q8_0"))
    x, narrow = upload_quantized(device, values(2, 256)), upload_quantized(device, values(2, 128))
    out, wrong = device.alloc((2, 33), np.float32, "out"), device.alloc((2, 32), np.float32, "out")
    floats = device.upload(values(2, 256), "x")
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: codes is int8 \(2, 128\), expected int8 \(any, 256\)$"):
        matmul(stream, narrow, q4_k, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: out is float32 \(2, 32\), expected float32 \(2, 33\)$"):
        matmul(stream, x, q4_k, out=wrong)
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: scales is float32 \(2, 4\)"):
        matmul(stream, replace(x, scales=narrow.scales), q4_k, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: weight Q8_0 is Q8_0, expected Q4_K$"):
        matmul_q4_k(stream, x, q8_0, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: weight Q4_K is uint8 \(2, 1, 4608\), expected"):
        matmul(stream, x, replace(q4_k, rows=65), out=out)
    with pytest.raises(LaunchError, match=r"^matmul: weight Q4_K is Q4_K, which does not take float activations$"):
        matmul(stream, floats, q4_k, out=out)
    with pytest.raises(LaunchError, match=r"^matmul_q4_k: path is 'fast', expected auto, matvec, few or gemm$"):
        matmul(stream, x, q4_k, path="fast", out=out)  # type: ignore[arg-type]
    f32 = load_weight(device, weight("F32", 33, 256), "F32")
    with pytest.raises(LaunchError, match=r"^matmul_f32: path is 'few', expected auto, matvec or gemm$"):
        matmul(stream, floats, f32, path="few", out=out)
