"""The matrix: what it expands to, and faults that name their line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.config import DEFAULT, parse_config, read_text
from harness.errors import BadCall
from harness.matrix import RowConfig, expand
from suites.models import Models

GOOD = """\
schema = 1
repeats = 3

[[group]]
models = ["qwen3-tiny"]
quants = ["Q8_0", "F16"]
shapes = [{ prompt = 4, generated = 2, context = 8 }]
[group.toggles]
graph = ["on", "off"]
chunk = 3

[[group]]
models = ["qwen3-odd"]
quants = ["Q4_0"]
devices = ["cuda"]
shapes = [
  { prompt = 4, generated = 2, context = 8 },
  { prompt = 5, generated = 2, context = 8, depth = 1 },
]
exclude = [{ prompt = 5, graph = "off" }]
[group.toggles]
graph = ["on", "off"]
"""
PATH = Path("folder/mine.toml")


def rows(text: str, device: str) -> list[RowConfig]:
    return expand(parse_config(text, PATH), device)


def test_expands_models_shapes_and_toggles_on_a_device() -> None:
    found = [(row.model.quant, row.toggles["graph"], row.toggles["chunk"]) for row in rows(GOOD, "host")]
    assert found == [("Q8_0", "on", 3), ("Q8_0", "off", 3), ("F16", "on", 3), ("F16", "off", 3)]


def test_defaults_of_toggles_are_filled_in() -> None:
    assert {(row.toggles["kv"], row.toggles["prefill"]) for row in rows(GOOD, "host")} == {("f16", "batched")}


def test_exclusions_need_all_their_fields_to_match() -> None:
    odd = [row for row in rows(GOOD, "cuda") if row.model.name == "qwen3-odd"]
    assert [(row.shape.prompt, row.toggles["graph"]) for row in odd] == [(4, "on"), (4, "off"), (5, "on")]


def test_the_same_row_twice_is_one_row() -> None:
    doubled = GOOD.replace('quants = ["Q8_0", "F16"]', 'quants = ["Q8_0", "Q8_0"]')
    assert len(rows(doubled, "host")) == 2


def test_rows_that_differ_in_the_seed_alone_are_two_rows() -> None:
    first = GOOD[GOOD.index("[[group]]") : GOOD.index('models = ["qwen3-odd"]') - len("[[group]]\n")]
    found = rows(GOOD + "\n" + first.replace("[[group]]", "[[group]]\nseed = 2"), "host")
    assert len(found) == 8
    assert {(row.model.quant, row.model.seed) for row in found} == {("Q8_0", 1), ("F16", 1), ("Q8_0", 2), ("F16", 2)}


def test_files_of_the_same_name_in_two_folders_are_two_rows(models: Models, tmp_path: Path) -> None:
    data = models.tiny("Q8_0").file.path.read_bytes()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.gguf").write_bytes(data)
    shapes = "shapes = [{ prompt = 4, generated = 2, context = 8 }]"
    text = f'schema = 1\n[[group]]\nmodels = ["a/m.gguf", "b/m.gguf"]\n{shapes}\n'
    found = expand(parse_config(text, tmp_path / "mine.toml"), "host")
    assert [row.model.path for row in found] == [tmp_path / folder / "m.gguf" for folder in ("a", "b")]


def test_default_matrix_covers_what_it_promises() -> None:
    config = parse_config(read_text(DEFAULT), DEFAULT)
    host = expand(config, "host")
    assert len(host) >= 48
    for name in ("graph", "prefill", "kv"):
        assert len({row.toggles[name] for row in host}) == 2
    assert len({row.shape.context for row in host}) == 2
    assert len({row.model.quant for row in host}) >= 3
    assert max(row.shape.prompt for row in host) > 256  # an attention split ends at 256
    assert set(Counter(tuple(sorted(row.toggles.items())) for row in host).values()) == {6}
    assert {row.model.name for row in expand(config, "cuda")} == {"qwen3-tiny", "qwen3-0.6b", "qwen3-8b"}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("schema = 1", "schema = 7", 1, "schema: expected 1"),
        ("repeats = 3", "repeats = 0", 2, "repeats: 0 is not a whole number, at least 1"),
        ("repeats = 3", "repeets = 3", 2, "repeets: unknown key"),
        ("repeats = 3", "repeats = ", 2, "Invalid value"),
        ("shapes = [{ prompt = 4, generated = 2, context = 8 }]\n", "", 4, "shapes: expected at least one shape"),
        ("shapes = [{ prompt = 4, generated = 2, context = 8 }]\n", "shapes = []\n", 7, "shapes: expected at"),
        ('exclude = [{ prompt = 5, graph = "off" }]', "exclude = [{}]", 20, "exclude: an exclusion without fields"),
        ('quants = ["Q8_0", "F16"]', "quants = []", 6, "quants: expected a list of texts"),
        ('quants = ["Q8_0", "F16"]\n', "", 5, "quants: expected for a model that is made by name"),
        ("generated = 2, context = 8 }]", "generated = 20, context = 8 }]", 7, "context: 8 is less than"),
        ("prompt = 4, generated = 2, context = 8 }]", "generated = 2, context = 8 }]", 4, "shapes.prompt: missing"),
        ('graph = ["on", "off"]\nchunk', 'graph = ["on", "maybe"]\nchunk', 9, "'maybe' is not on | off"),
        ("chunk = 3", "chunk = 0", 10, "0 is not whole number, at least 1"),
        ("chunk = 3", "chonk = 3", 10, "unknown toggle 'chonk'"),
        ("chunk = 3", 'tape = "on"', 10, "looks at a run and is no part of a row"),
        ("chunk = 3", "chunk = 1.5", 10, "neither text nor a whole number"),
        ('devices = ["cuda"]', 'devices = ["tpu"]', 15, "'tpu' is not one of host, cuda"),
        ("exclude = [{ prompt = 5,", "exclude = [{ promt = 5,", 20, "exclude.promt: unknown key"),
        ('models = ["qwen3-odd"]', 'modles = ["qwen3-odd"]', 13, "modles: unknown key"),
    ],
)  # fmt: skip
def test_a_fault_names_file_and_line(old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(BadCall) as error:
        expand(parse_config(GOOD.replace(old, new, 1), PATH), "host")
    assert str(error.value).startswith(f"folder/mine.toml line {line}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_matrix_without_rows_for_the_device_is_refused() -> None:
    only_cuda = GOOD.replace('quants = ["Q8_0", "F16"]', 'quants = ["F16"]\ndevices = ["cuda"]')
    with pytest.raises(BadCall, match="no row for device host"):
        rows(only_cuda, "host")


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(BadCall, match=r"no \[\[group\]\]"):
        parse_config("schema = 1", PATH)
