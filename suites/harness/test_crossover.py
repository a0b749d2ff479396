"""The crossover of matvec and gemm: which rows the times give, what is written, and that the engine can read it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.device import Device
from engine.families import qwen3
from engine.ops._crossover import read_table
from harness.adapters.crossover import recorded, shapes, table_name
from harness.cli.main import zeroulp
from harness.crossover import ROWS, Timed, crossovers, lines, table_text
from harness.errors import BadCall
from harness.schema import Spread
from suites.models import Models

GPU = "NVIDIA H200"


def us(value: float) -> Spread:
    return Spread(median=value, min=value, max=value, samples=(value,))


def times(*pairs: tuple[int, float, float], type_name: str = "Q4_K", outputs: int = 4096) -> list[Timed]:
    """Rows, microseconds of the matvec, microseconds of the gemm."""
    return [
        Timed(type=type_name, outputs=outputs, cols=512, rows=rows, matvec=us(matvec), gemm=us(gemm))
        for rows, matvec, gemm in pairs
    ]


@pytest.mark.parametrize(
    ("pairs", "rows"),
    [
        ([(1, 5, 9), (2, 6, 9), (4, 9, 9), (8, 12, 9)], 4),
        ([(8, 12, 9), (4, 9, 9), (2, 6, 9), (1, 5, 9)], 4),
        ([(1, 5, 9), (2, 10, 9), (4, 8, 9)], 1),  # faster again later does not count
        ([(1, 9, 5), (2, 4, 5)], 2),  # one row is the matvec's anyway
        ([(1, 9, 5), (2, 9, 5)], 1),
        ([(1, 1, 2), (2, 1, 2), (4, 1, 2)], 4),
        ([(1, 1, 2), (2, float("nan"), 2)], 1),
    ],
)
def test_the_matvec_is_taken_as_long_as_it_is_faster(pairs: list[tuple[int, float, float]], rows: int) -> None:
    assert crossovers(times(*pairs)) == {("Q4_K", 4096, 512): rows}


def test_every_weight_has_its_own(tmp_path: Path) -> None:
    found = [*times((1, 1, 2), (2, 1, 2)), *times((1, 1, 2), (2, 3, 2), outputs=64, type_name="Q6_K")]
    path = tmp_path / table_name(GPU)
    path.write_text(table_text(GPU, found, command="zeroulp bench crossover m:Q4_K_M"))
    read = {(one.type, one.outputs, one.cols): one.matvec_rows for one in read_table(path, GPU)}
    assert read == crossovers(found) == {("Q4_K", 4096, 512): 2, ("Q6_K", 64, 512): 1}
    assert path.name == "NVIDIA_H200.toml"
    assert path.read_text().startswith("# Measured: zeroulp bench crossover m:Q4_K_M\n")


def test_a_table_of_nothing_is_not_written() -> None:
    with pytest.raises(BadCall, match="at least one weight"):
        table_text(GPU, [], command="")


def test_lines_name_the_faster_way() -> None:
    assert [line.split()[-1] for line in lines(times((1, 5, 9), (8, 12, 9)))] == ["faster", "matvec", "gemm"]


def test_both_ways_are_launched_at_every_number_of_rows_over_all_weights(device: Device, models: Models) -> None:
    loaded = qwen3.load(device, models.tiny("Q4_K_M"))
    found = shapes(loaded)
    names = {weight.name for weights in found.values() for weight in weights}
    assert names == {name for name, info in loaded.model.file.tensors.items() if len(info.shape) == 2} - {
        "token_embd.weight"
    }
    used = device.used_bytes()
    for (type_name, outputs, cols), weights in found.items():
        with ExitStack() as stack:
            step, places = recorded(device, weights, stack)
            assert list(places) == [(rows, path) for rows in ROWS for path in ("matvec", "gemm")]
            assert sum(map(len, places.values())) == len(step.launches) == 2 * len(ROWS) * len(weights)
            for (rows, path), where in places.items():
                launches = [step.launches[place] for place in where]
                assert {launch.kernel for launch in launches} == {f"matmul_{type_name.lower()}_{path}"}
                assert {launch.args[0].shape for launch in launches} == {(rows, outputs)}  # type: ignore[union-attr]
                assert [name for launch in launches for name in _names(launch.args, cols)] == [w.name for w in weights]
        assert device.used_bytes() == used
    loaded.close()


def _names(args: tuple[object, ...], cols: int) -> list[str]:
    assert cols in args
    return [name for arg in args if (name := getattr(arg, "name", "")).endswith(".weight")]


def test_the_host_device_has_no_times_to_compare(capsys: pytest.CaptureFixture[str]) -> None:
    assert zeroulp(["bench", "crossover", "qwen3-tiny:Q8_0", "--device", "host"]) == 2
    assert "the host device emulates kernels" in capsys.readouterr().err
