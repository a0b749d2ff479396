"""Figures of pytest-benchmark and llama-bench are kept as they are given, once; anything else is one line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import zeroulp
from harness.errors import BadCall
from harness.imports import add, read_file
from harness.store import IMPORTED, read_imported
from reference.spec.errors import BadInput

PYTEST_BENCHMARK: dict[str, Any] = {
    "machine_info": {"node": "box", "cpu": {"count": 2}},
    "commit_info": {"id": "abc", "dirty": True},
    "datetime": "2026-01-02T03:04:05+00:00",
    "version": "5.3.1",
    "benchmarks": [
        {
            "group": "store",
            "name": "test_load",
            "fullname": "suites/performance/test_store.py::test_load",
            "params": None,
            "extra_info": {"gb_per_s": 4.5, "shape": [1, 2]},
            "options": {"timer": "perf_counter"},
            "stats": {
                "min": 0.1, "max": 0.3, "mean": 0.2, "stddev": 0.1, "median": 0.2, "iqr": 0.1, "rounds": 3,
                "iterations": 1, "outliers": "0;0", "ops": 5.0, "total": 0.6,
            },
        }
    ],
}  # fmt: skip

LLAMA_BENCH: dict[str, Any] = {
    "build_commit": "b1", "build_number": 7, "gpu_info": "Some GPU", "backends": "CUDA", "model_filename": "m.gguf",
    "model_type": "qwen3 8B Q8_0", "model_size": 5, "n_batch": 2048, "n_ubatch": 512, "type_k": "f16", "type_v": "f16",
    "n_gpu_layers": 99, "flash_attn": True, "n_prompt": 512, "n_gen": 0, "n_depth": 0,
    "samples_ts": [100.0, 120.0, 110.0], "avg_ts": 110.0,
}  # fmt: skip


def written(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_pytest_benchmark(tmp_path: Path) -> None:
    (found,) = read_file(written(tmp_path / "b.json", PYTEST_BENCHMARK))
    assert (found.program, found.unit, found.median, found.min, found.max, found.count) == (
        "pytest-benchmark", "s", 0.2, 0.1, 0.3, 3,
    )  # fmt: skip
    assert (found.name, found.group) == ("suites/performance/test_store.py::test_load", "store")
    assert (found.machine, found.build, found.started) == ("box", "abc (dirty)", "2026-01-02T03:04:05+00:00")
    assert (found.facts["gb_per_s"], found.facts["shape"], found.facts["mean"]) == (4.5, "[1,2]", 0.2)


def test_llama_bench(tmp_path: Path) -> None:
    decode = LLAMA_BENCH | {"n_prompt": 0, "n_gen": 128}
    prefill, generated = read_file(written(tmp_path / "l.json", [LLAMA_BENCH, decode]))
    assert (prefill.program, prefill.unit, prefill.median, prefill.samples) == (
        "llama-bench", "tokens/s", 110.0, (100.0, 120.0, 110.0),
    )  # fmt: skip
    assert (prefill.name, prefill.group) == ("qwen3 8B Q8_0, prompt 512 at 0", "prefill")
    assert (generated.name, generated.group) == ("qwen3 8B Q8_0, generated 128 at 0", "decode")
    assert prefill.id != generated.id


def test_a_figure_is_kept_once(tmp_path: Path) -> None:
    records = read_file(written(tmp_path / "l.json", [LLAMA_BENCH]))
    first, again = add(records, tmp_path / "kept"), add(records, tmp_path / "kept")
    assert ((first.new, first.known), (again.new, again.known)) == ((1, 0), (0, 1))
    more = add([*records, *read_file(written(tmp_path / "b.json", PYTEST_BENCHMARK))], tmp_path / "kept")
    assert (more.new, more.known) == (1, 1)
    found, problems = read_imported(tmp_path / "kept" / IMPORTED)
    assert ([record.program for record in found], problems) == (["llama-bench", "pytest-benchmark"], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ({"benchmarks": [], "machine_info": {}}, "no benchmarks in it"),
        ({"benchmarks": [{"fullname": 3}], "machine_info": {}}, "not what pytest-benchmark writes"),
        ([], "an empty list"),
        ({"what": 1}, "entry 1 is none of llama-bench"),
        ([LLAMA_BENCH | {"samples_ts": []}], "samples_ts"),
    ],
)
def test_another_file_is_one_line_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, message: str
) -> None:
    good, bad = written(tmp_path / "good.json", [LLAMA_BENCH]), written(tmp_path / "bad.json", content)
    with pytest.raises((BadInput, BadCall), match=message):
        read_file(bad)
    assert zeroulp(["store", "import", str(good), str(bad), "--into", str(tmp_path / "kept")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "kept").exists()


def test_imported_figures_are_in_the_index_and_are_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, kept = written(tmp_path / "l.json", LLAMA_BENCH), tmp_path / "results" / "peers"
    assert zeroulp(["store", "import", str(file), "--into", str(kept), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"folder": str(kept), "new": 1, "known": 0}
    assert zeroulp(["store", "index", str(tmp_path / "results")]) == 0
    with closing(sqlite3.connect(tmp_path / "results" / "index.sqlite")) as database:
        assert database.execute("SELECT run, program, unit, median FROM imported").fetchall() == [
            ("peers", "llama-bench", "tokens/s", 110.0)
        ]
        assert database.execute("SELECT count(*) FROM rows").fetchall() == [(0,)]
