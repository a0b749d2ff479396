"""Synthetic models: right shapes and types, well conditioned, the same bytes everywhere, whole or not there at all."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import tracemalloc
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import pytest

from reference.quant import dequantize
from reference.spec.errors import BadInput
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Model, open_model
from reference.synth import TINY, SynthShape, synth, synth_bytes, synth_names, synth_quants, synth_shape
from reference.synth.header import header_bytes
from reference.synth.plan import plan_metadata, plan_tensors
from reference.synth.shapes import SHAPES

VARIANTS = {
    "tied": replace(TINY, tied=True),
    "biases": replace(TINY, biases=True),
    "one key head": replace(TINY, heads=6, kv_heads=1),
    "wide heads": replace(TINY, heads=2, kv_heads=2, head_dim=256),
    "linear": replace(TINY, scaling="linear", factor=2.0, theta=10000.0),
    "yarn": replace(TINY, scaling="yarn", factor=4.0, original_context=2048),
    "random blocks": replace(TINY, random_blocks=True),
    "texts": replace(TINY, texts=True),
}


def made(path: Path, shape: SynthShape, quant: str, seed: int = 0) -> Model:
    synth_shape(shape, quant=quant, seed=seed, path=path)
    return open_model(path)


def digest(model: Model) -> str:
    """Of every tensor's name, type, shape and bytes."""
    sha = hashlib.sha256()
    for name, info in model.file.tensors.items():
        sha.update(f"{name} {info.type} {info.shape}".encode())
        sha.update(model.file.raw(name).tobytes())
    return sha.hexdigest()[:16]


@pytest.mark.parametrize("name", ["qwen3-tiny", "qwen3-odd"])
@pytest.mark.parametrize("quant", synth_quants())
def test_tiny_models_in_every_quant(name: str, quant: str, tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    if name == "qwen3-odd" and quant in ("Q5_K", "Q5_K_M"):
        with pytest.raises(BadInput, match=r"rows of 96 weights.*would become Q5_1, which is not supported"):
            synth(name, quant=quant, seed=0, path=path)
        assert not path.exists()
        return
    synth(name, quant=quant, seed=0, path=path)
    assert path.stat().st_size == synth_bytes(name, quant)
    model = open_model(path)
    assert model.file.metadata["zeroulp.seed"] == 0
    fallbacks = {"Q4_K": {"Q5_0"}, "Q6_K": {"Q8_0"}, "Q4_K_M": {"Q5_0", "Q8_0"}} if name == "qwen3-odd" else {}
    mixes = {"Q4_K_M": {"Q4_K", "Q6_K"}, "Q5_K_M": {"Q5_K", "Q6_K"}}
    types = {info.type for info in model.file.tensors.values() if len(info.shape) == 2}
    assert types == fallbacks.get(quant, mixes.get(quant, {quant}))


def test_odd_widths() -> None:
    widths = {tensor.shape[-1] for tensor in plan_tensors(SHAPES["qwen3-odd"].spec(), "F32") if len(tensor.shape) == 2}
    assert widths == {96, 704, 2112}


PUBLISHED = {
    "qwen3-0.6b": (310, 0.596),
    "qwen3-1.7b": (310, 1.72),
    "qwen3-4b": (398, 4.02),
    "qwen3-8b": (399, 8.19),
    "qwen3-14b": (443, 14.77),
    "qwen3-32b": (707, 32.76),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes(name: str) -> None:
    tensors = plan_tensors(SHAPES[name].spec(), "F16")
    parameters = sum(math.prod(tensor.shape) for tensor in tensors)
    assert (len(tensors), round(parameters / 1e9, 3 if parameters < 1e9 else 2)) == PUBLISHED[name]


def test_every_name_is_listed() -> None:
    assert synth_names() == ("qwen3-tiny", "qwen3-odd", *PUBLISHED)


def test_the_rule_of_q4_k_m() -> None:
    """Of 36 layers, attn_v and ffn_down of the first and last eighth and every third between have six bits."""
    types = {tensor.name: tensor.type for tensor in plan_tensors(SHAPES["qwen3-8b"].spec(), "Q4_K_M")}
    six = [0, 1, 2, 3, *range(6, 31, 3), 31, 32, 33, 34, 35]
    expected = {f"blk.{layer}.{name}.weight" for layer in six for name in ("attn_v", "ffn_down")} | {"output.weight"}
    assert {name for name, kind in types.items() if kind == "Q6_K"} == expected
    assert set(types.values()) == {"F32", "Q4_K", "Q6_K"}


def test_a_tied_head_is_six_bits() -> None:
    types = {tensor.name: tensor.type for tensor in plan_tensors(SHAPES["qwen3-0.6b"].spec(), "Q5_K_M")}
    assert (types["token_embd.weight"], types["blk.4.attn_q.weight"]) == ("Q6_K", "Q5_K")
    assert "output.weight" not in types


@pytest.mark.parametrize("variant", ["yarn", "texts"])
def test_header_is_what_the_gguf_package_writes(variant: str, tmp_path: Path) -> None:
    shape = VARIANTS[variant]
    entries = plan_metadata(shape, name="n", quant="Q4_K_M", seed=5)
    tensors = plan_tensors(shape.spec(), "Q4_K_M")
    writer = gguf.GGUFWriter(tmp_path / "h.gguf", "qwen3")
    for entry in entries[1:]:  # the writer has put the architecture
        if isinstance(entry.value, tuple):
            writer.add_array(entry.key, entry.value)
        else:
            writer.add_key_value(entry.key, entry.value, gguf.GGUFValueType[entry.kind.upper()])
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType[tensor.type]
        writer.add_tensor_info(tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    theirs = (tmp_path / "h.gguf").read_bytes()
    assert header_bytes(entries, tensors) == theirs.ljust(-(-len(theirs) // 32) * 32, b"\0")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_shapes_have_a_text_for_every_token(name: str) -> None:
    """A file is opened as a published one is: past as many texts as it has tokens."""
    entries = {entry.key: entry.value for entry in plan_metadata(SHAPES[name], name=name, quant="Q8_0", seed=0)}
    for key in ("tokens", "merges"):
        texts = entries[f"tokenizer.ggml.{key}"]
        assert isinstance(texts, tuple)
        assert len(texts) == len(set(texts)) == 151936


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_read_back(variant: str, tmp_path: Path) -> None:
    shape = VARIANTS[variant]
    spec = made(tmp_path / "m.gguf", shape, "Q8_0").spec
    expected = shape.spec()
    rope = replace(expected.rope, scaling=spec.rope.scaling) if shape.scaling == "none" else expected.rope
    assert spec == replace(expected, eps=float(np.float32(shape.eps)), rope=rope)


@pytest.mark.parametrize("random_blocks", [False, True])
@pytest.mark.parametrize("quant", list(WEIGHT_TYPES))
def test_conditioning(quant: str, random_blocks: bool, tmp_path: Path) -> None:
    """Every tensor has its planned mean and standard deviation, and no value that is not finite."""
    shape = replace(TINY, biases=True, random_blocks=random_blocks)
    model = made(tmp_path / "m.gguf", shape, quant)
    for tensor in plan_tensors(shape.spec(), quant):
        values = dequantize(model.tensor(tensor.name)).astype(np.float64)
        samples = values.size if len(tensor.shape) == 1 or quant in ("F32", "F16", "BF16") else values.size / 32
        assert np.isfinite(values).all()
        assert abs(values.mean() - tensor.mean) < 5 * tensor.std / math.sqrt(samples), tensor.name
        assert abs(values.std() / tensor.std - 1) < 0.02 + 3 / math.sqrt(samples), tensor.name


DIGESTS = {
    ("qwen3-tiny", "F32"): "472f212595cad951",
    ("qwen3-tiny", "BF16"): "78754f1c0a5a49f2",
    ("qwen3-tiny", "Q8_0"): "611363eee68e0016",
    ("qwen3-tiny", "Q4_K_M"): "4fb12958efc8c398",
    ("qwen3-odd", "Q4_K_M"): "9dded629da44aa66",
}


@pytest.mark.parametrize(("name", "quant"), DIGESTS)
def test_the_same_bytes_on_every_machine(name: str, quant: str, tmp_path: Path) -> None:
    synth(name, quant=quant, seed=0, path=tmp_path / "m.gguf")
    assert digest(open_model(tmp_path / "m.gguf")) == DIGESTS[name, quant]


RANDOM_DIGESTS = {
    "F32": "c2e642b3ffe155c4",
    "F16": "f5386d2378605700",
    "Q4_K_M": "a84eef63ac95c005",
    "Q5_K_M": "d7b6a0fe3e9e8e22",
    "Q5_0": "68ea870e0a9feadc",
}


@pytest.mark.parametrize("quant", RANDOM_DIGESTS)
def test_the_same_random_blocks_on_every_machine(quant: str, tmp_path: Path) -> None:
    assert digest(made(tmp_path / "m.gguf", VARIANTS["random blocks"], quant)) == RANDOM_DIGESTS[quant]


def test_seeds_and_tensors_differ(tmp_path: Path) -> None:
    first, second = (made(tmp_path / f"{seed}.gguf", TINY, "F32", seed) for seed in (0, 1))
    for name in first.file.tensors:
        assert (first.file.raw(name) != second.file.raw(name)).any()
    assert (first.file.raw("blk.0.attn_k.weight") != first.file.raw("blk.1.attn_k.weight")).any()


def test_big_models_are_streamed(tmp_path: Path) -> None:
    """Memory stays at a few chunks, whatever the size; progress ends at the size of the file."""
    shape = replace(TINY, vocab=120_000, random_blocks=True)
    path, seen = tmp_path / "m.gguf", [(0, 0)]
    tracemalloc.start()
    try:
        synth_shape(shape, quant="F16", seed=0, path=path, progress=lambda done, total: seen.append((done, total)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = path.stat().st_size
    assert size > 120e6
    assert peak < 60e6
    assert seen == sorted(seen)
    assert size - 32 < seen[-1][0] <= size
    assert {total for _, total in seen[1:]} == {size}


def test_an_interrupt_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"old")

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synth("qwen3-tiny", quant="Q8_0", seed=0, path=path, progress=interrupt)
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("m.gguf", b"old")]
    synth("qwen3-tiny", quant="Q8_0", seed=0, path=path)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands in for a disk that fills up while it is written to."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        with pytest.raises(BadInput, match=r"m\.gguf: cannot be written \(.*\); nothing was left behind"):
            synth("qwen3-tiny", quant="F32", seed=0, path=tmp_path / "m.gguf")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_too_little_space(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"m\.gguf: needs 56295\d\.\d\d GB of disk space, [\d.]+ GB are free"):
        synth_shape(replace(TINY, dim=32768, vocab=2**31 - 1), quant="F32", seed=0, path=tmp_path / "m.gguf")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "qwen3-9b"}, "synthetic model 'qwen3-9b': expected one of qwen3-tiny, qwen3-odd, qwen3-0.6b"),
        ({"quant": "Q3_K"}, "quant 'Q3_K': expected one of F32, F16, BF16, Q8_0"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"path": "none/m.gguf"}, "its folder does not exist"),
        ({"path": "."}, "exists and is not a file"),
        ({"path": "x" * 300}, "cannot be written"),
        ({"path": "a\0b"}, "a\\x00b"),
    ],
)
def test_bad_calls(change: dict[str, str | int], words: str, tmp_path: Path) -> None:
    call: dict[str, str | int] = {"name": "qwen3-tiny", "quant": "Q8_0", "seed": 0, "path": "m.gguf", **change}
    with pytest.raises(BadInput) as caught:
        synth(str(call["name"]), quant=str(call["quant"]), seed=int(call["seed"]), path=tmp_path / str(call["path"]))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
