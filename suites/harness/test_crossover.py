"""The crossover of matvec and gemm: which rows the times give, what is written, and that the engine can read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from engine.device import Device
from engine.families import qwen3
from engine.launch_log import Launch
from engine.ops._crossover import read_table
from harness.adapters import crossover as adapter
from harness.adapters.crossover import paths, recorded, shapes, table_name
from harness.adapters.kernels import Recorded
from harness.cli.main import zeroulp
from harness.crossover import ROWS, Timed, crossovers, lines, table_text
from harness.errors import BadCall
from harness.schema import Spread
from reference.synth import synth
from suites.models import Models

GPU = "NVIDIA H200"


def us(value: float) -> Spread:
    return Spread(median=value, min=value, max=value, samples=(value,))


def times(*pairs: tuple[int, float, float], type_name: str = "Q4_K", outputs: int = 4096) -> list[Timed]:
    """Rows, microseconds of the matvec, microseconds of the gemm."""
    return [
        Timed(type=type_name, outputs=outputs, cols=512, rows=rows, matvec=us(matvec), batch=us(gemm), path="gemm")
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
            assert list(places) == [(rows, path) for rows in ROWS for path in paths(weights[0], rows)]
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


class FakeTimer:
    """A matvec takes a microsecond for each row, a gemm five for any number."""

    def __init__(self, device: Device, recorded: Recorded, *, pdl: bool) -> None:
        self._recorded = recorded
        assert not pdl

    def call_us(self, places: Sequence[int]) -> Spread:
        (launched,) = {(launch.kernel, _rows(launch)) for launch in (self._recorded.launches[at] for at in places)}
        return us(launched[1] if launched[0].endswith("matvec") else 5.0)

    def close(self) -> None:
        """It holds nothing."""


def _rows(launch: Launch) -> int:
    rows: int = launch.args[0].shape[0]  # type: ignore[union-attr]
    return rows


def test_times_go_to_their_rows_and_ways(device: Device, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "StepTimer", FakeTimer)
    loaded = qwen3.load(device, models.tiny("Q4_K_M"))
    used = device.used_bytes()
    for (type_name, outputs, cols), weights in adapter.shapes(loaded).items():
        found = adapter._timed(device, weights)  # type: ignore[arg-type]
        assert [(one.rows, one.matvec.median, one.batch.median, one.path) for one in found] == [
            (n, n, 5.0, paths(weights[0], n)[1]) for n in ROWS
        ]
        assert {one.path for one in found if 2 <= one.rows <= 8} == {"few" if weights[0].quantized else "gemm"}
        assert crossovers(found) == {(type_name, outputs, cols): 4}
    assert device.used_bytes() == used
    loaded.close()


def test_the_command_writes_a_table_that_the_engine_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = (*times((1, 1, 2), (2, 1, 2)), *times((1, 1, 2), (2, 3, 2), outputs=64, type_name="Q6_K"))
    monkeypatch.setattr(adapter, "measure", lambda files, **_: (GPU, found))
    for name in ("chosen", "require"):
        monkeypatch.setattr(f"harness.adapters.devices.{name}", lambda device: device)
    model = tmp_path / "m.gguf"
    synth("qwen3-tiny", quant="Q8_0", seed=0, path=model)
    words = ["bench", "crossover", str(model), "--device", "cuda", "--out", str(tmp_path / "tables"), "--json"]
    assert zeroulp(words) == 0
    said = json.loads(capsys.readouterr().out)
    table = tmp_path / "tables" / "NVIDIA_H200.toml"
    assert said["table"] == str(table)
    assert [one["matvec_rows"] for one in said["weights"]] == [2, 1]
    assert [one.matvec_rows for one in read_table(table, GPU)] == [2, 1]
    assert len(said["times"]) == 4
