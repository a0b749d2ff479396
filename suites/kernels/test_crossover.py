"""The table by which `auto` chooses matvec or gemm: found by the device's name, refused if wrong, never a bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.device import Device
from engine.launch_log import LaunchLog
from engine.ops import _crossover
from engine.ops._crossover import matvec_rows, read_table, table_path
from engine.ops.matmul import matmul
from harness.adapters.crossover import shapes
from reference.spec.errors import BadInput
from suites.kernels.matmuls import case, values, weight
from suites.models import Models, assert_same_bits, random_tokens, session

GPU = "NVIDIA H200"
ENTRY = '[[weight]]\ntype = "{type}"\noutputs = {outputs}\ncols = {cols}\nmatvec_rows = {rows}\n'

Table = Callable[..., Path]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Table:
    """Writes the table of a device, the only one that there is."""
    monkeypatch.setattr(_crossover, "TABLES", tmp_path)

    def write(gpu: str, *entries: tuple[str, int, int, int]) -> Path:
        path = table_path(gpu, tmp_path)
        parts = [ENTRY.format(type=t, outputs=o, cols=c, rows=r) for t, o, c, r in entries]
        path.write_text(f'schema = 1\ngpu = "{gpu}"\n' + "".join(parts))
        _crossover._looked_up.cache_clear()
        return path

    return write


def test_the_file_is_called_after_the_device(tmp_path: Path) -> None:
    assert table_path("NVIDIA H200", tmp_path).name == "NVIDIA_H200.toml"
    assert table_path("../AMD (x)", tmp_path).parent == tmp_path


def test_a_measured_weight_has_its_own_rows_and_a_near_one_those_of_the_nearest(table: Table) -> None:
    table(GPU, ("Q4_K", 4096, 4096, 3), ("Q4_K", 12288, 4096, 6), ("Q6_K", 4096, 4096, 2))
    assert matvec_rows(GPU, "Q4_K", 4096, 4096) == 3
    assert matvec_rows(GPU, "Q4_K", 12288, 4096) == 6
    assert matvec_rows(GPU, "Q4_K", 10240, 4096) == 6
    assert matvec_rows(GPU, "Q4_K", 5120, 4096) == 3
    assert matvec_rows(GPU, "Q6_K", 12288, 4096) == 2


def test_without_a_table_or_far_from_all_of_it_the_default_holds(table: Table) -> None:
    assert matvec_rows(GPU, "Q4_K", 4096, 4096) == 1
    table(GPU, ("Q4_K", 4096, 4096, 8))
    assert matvec_rows("another GPU", "Q4_K", 4096, 4096) == 1
    assert matvec_rows(GPU, "Q8_0", 4096, 4096) == 1
    assert matvec_rows(GPU, "Q4_K", 1024, 1024) == 1  # four factors of two
    assert matvec_rows(GPU, "Q4_K", 2048, 2048) == 8


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("schema = 1", "schema = 2", "schema is 2, expected 1"),
        (f'gpu = "{GPU}"', 'gpu = "NVIDIA A100"', f"gpu is 'NVIDIA A100', expected '{GPU}'"),
        ('type = "Q4_K"', 'type = "Q9_K"', "weight 1: type is 'Q9_K', expected one of F32"),
        ('type = "Q4_K"', 'type = ["Q4_K"]', "weight 1: type is ['Q4_K'], expected one of F32"),
        ("matvec_rows = 3", "matvec_rows = 0", "weight 1: matvec_rows is 0, expected a whole number from 1 on"),
        ("matvec_rows = 3", "matvec_rows = true", "weight 1: matvec_rows is True"),
        ("cols = 4096", "cols = 40.5", "weight 1: cols is 40.5"),
        ("cols = 4096\n", "", "weight 1: expected type, outputs, cols, matvec_rows"),
        ("[[weight]]", "[[weigt]]", "expected schema, gpu and at least one"),
        ("schema = 1", "schema = ", "Invalid value"),
        ("schema = 1", "schema = 1\ntuned = 3", "expected schema, gpu and at least one"),
    ],
)
def test_a_wrong_table_is_refused_by_one_line_that_names_it(table: Table, old: str, new: str, message: str) -> None:
    path = table(GPU, ("Q4_K", 4096, 4096, 3))
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(BadInput) as error:
        matvec_rows(GPU, "Q4_K", 4096, 4096)
    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_the_tables_of_the_engine_can_be_read() -> None:
    for path in sorted(_crossover.TABLES.glob("*.toml")):
        gpu = path.read_text().partition('gpu = "')[2].partition('"')[0]
        assert table_path(gpu, _crossover.TABLES) == path
        assert read_table(path, gpu)


@pytest.mark.parametrize("type_name", ["Q4_K", "Q6_K", "Q8_0", "F16"])
@pytest.mark.parametrize(("rows", "kernel"), [(1, "matvec"), (4, "matvec"), (5, "few"), (9, "gemm")])
def test_auto_takes_the_path_of_the_table_and_the_bits_stay(
    device: Device, table: Table, type_name: str, rows: int, kernel: str
) -> None:
    table(device.description, (type_name, 33, 512, 4))
    product = case(device, weight(type_name, 33, 512), values(rows, 512))
    out = device.alloc((rows, 33), np.float32, "out")
    log = LaunchLog(device.stream())
    if kernel == "few" and not product.weight.quantized:
        kernel = "gemm"
    matmul(log, product.x, product.weight, out=out)
    assert dict(log.executed()) == {f"matmul_{type_name.lower()}_{kernel}": 1}
    assert_same_bits(out.read().view(np.float32), product.expected, f"{rows} rows")
    product.close()
    device.free(out)


def test_a_session_gives_the_same_bits_by_any_table(device: Device, models: Models, table: Table) -> None:
    model = models.tiny("Q4_K_M")
    tokens = random_tokens(model, 14, seed=31)
    plain = session(device, model, context=32)
    expected = np.concatenate([plain.prefill(tokens[:9], all_logits=True), plain.verify(tokens[9:13])])
    sizes = shapes(plain._weights)
    for rows in (3, 4, 16):
        table(device.description, *((*size, rows) for size in sorted(sizes)))
        s = session(device, model, context=32)
        got = np.concatenate([s.prefill(tokens[:9], all_logits=True), s.verify(tokens[9:13])])
        assert_same_bits(got, expected, f"matvec up to {rows} rows")
        ran = s.launches.executed()
        gemms = sum(count for name, count in ran.items() if name.endswith("_gemm"))
        assert (gemms > 0) is (rows < 9), ran
