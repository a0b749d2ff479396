"""What a dense Qwen3 file says of itself: read right, defaults as in llama.cpp, contradictions refused by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from reference.spec.errors import BadInput
from reference.spec.model import open_model
from reference.spec.qwen3 import Qwen3
from suites.spec.raw_gguf import SHAPE, Value, default_tensors, write_model

u32, f32 = np.uint32, np.float32
F32, IQ4_XS, Q8_0 = 0, 23, 8


def read(path: Path, metadata: Mapping[str, Value | None] | None = None) -> Qwen3:
    return open_model(write_model(path / "m.gguf", metadata)).spec


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        open_model(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_reads_every_parameter(tmp_path: Path) -> None:
    spec = read(tmp_path)
    assert (spec.layers, spec.dim, spec.ff, spec.heads, spec.kv_heads) == (2, 64, 96, 2, 1)
    assert (spec.head_dim, spec.vocab, spec.context_train) == (32, 50, 8192)
    assert (spec.eps, spec.rope.theta, spec.rope.n_rot) == (float(f32(1e-6)), 1e6, 32)
    assert (spec.rope.factor, spec.tied, spec.biases) == (1.0, False, False)


def test_defaults(tmp_path: Path) -> None:
    optional = (
        "attention.key_length",
        "attention.value_length",
        "rope.freq_base",
        "rope.dimension_count",
        "vocab_size",
    )
    spec = read(tmp_path, {f"qwen3.{key}": None for key in optional} | {"tokenizer.ggml.tokens": None})
    assert (spec.head_dim, spec.rope.theta, spec.rope.scaling, spec.rope.factor) == (32, 10000.0, "linear", 1.0)


def test_heads_of_keys_default_to_heads(tmp_path: Path) -> None:
    tensors = {f"blk.{i}.attn_{kv}.weight": ((64, 64), F32) for i in range(2) for kv in "kv"}
    path = write_model(tmp_path / "m.gguf", {"qwen3.attention.head_count_kv": None}, tensors)
    assert open_model(path).spec.kv_heads == 2


def test_arrays_per_layer(tmp_path: Path) -> None:
    spec = read(tmp_path, {"qwen3.attention.head_count": [u32(2), u32(2)], "qwen3.feed_forward_length": [u32(96)] * 2})
    assert (spec.heads, spec.ff) == (2, 96)


def test_tied_and_biases(tmp_path: Path) -> None:
    biases = {f"blk.{i}.attn_{n}.bias": ((s,), F32) for i in range(2) for n, s in (("q", 64), ("k", 32), ("v", 32))}
    spec = open_model(write_model(tmp_path / "m.gguf", None, {"output.weight": None, **biases})).spec
    assert (spec.tied, spec.biases) == (True, True)


def test_yarn(tmp_path: Path) -> None:
    keys: dict[str, Value | None] = {
        "type": "yarn",
        "factor": f32(4),
        "original_context_length": u32(2048),
        "yarn_beta_fast": f32(16),
        "attn_factor": f32(0.5),
        "yarn_attn_factor": f32(3),
    }
    rope = read(tmp_path, {f"qwen3.rope.scaling.{key}": value for key, value in keys.items()}).rope
    assert (rope.scaling, rope.factor, rope.original_context) == ("yarn", 4.0, 2048)
    assert (rope.beta_fast, rope.beta_slow, rope.attn_factor) == (16.0, 1.0, 1.5)


def test_scaling_none_ignores_the_factor(tmp_path: Path) -> None:
    rope = read(tmp_path, {"qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.factor": f32(8)}).rope
    assert (rope.scaling, rope.factor) == ("none", 1.0)


METADATA_FAULTS: list[tuple[str, Value | None, str]] = [
    ("general.architecture", None, "general.architecture is missing"),
    ("general.architecture", u32(3), "general.architecture is 3"),
    ("general.architecture", "llama", "architecture 'llama' is not supported; supported: qwen3"),
    ("general.architecture", "x" * 5000, "is not supported; supported: qwen3"),
    ("qwen3.block_count", None, "qwen3.block_count is missing"),
    ("qwen3.block_count", u32(0), "block_count is 0"),
    ("qwen3.block_count", np.int32(-1), "block_count is -1"),
    ("qwen3.block_count", f32(2), "block_count is 2.0"),
    ("qwen3.block_count", np.bool_(True), "block_count is True"),
    ("qwen3.block_count", "two", "block_count is 'two'"),
    ("qwen3.block_count", [u32(2)] * 2, "block_count is an array of 2"),
    ("qwen3.block_count", [u32(2)] * 2000, "block_count is an array of 2000 uint32"),
    ("qwen3.block_count", np.uint64(2**62), "block_count is 4611686018427387904"),
    ("qwen3.block_count", u32(2**31 - 1), "'blk.2.attn_norm.weight' is missing"),
    ("qwen3.block_count", u32(1), "'blk.1.attn_norm.weight' is not part of"),
    ("qwen3.context_length", None, "context_length is missing"),
    ("qwen3.embedding_length", u32(96), "'token_embd.weight' has the shape (50, 64), expected (50, 96)"),
    ("qwen3.feed_forward_length", u32(95), "'blk.0.ffn_gate.weight' has the shape (96, 64), expected (95, 64)"),
    ("qwen3.feed_forward_length", [u32(96), u32(95)], "one positive number, or 2 equal ones"),
    ("qwen3.feed_forward_length", [u32(96)] * 3, "one positive number, or 2 equal ones"),
    ("qwen3.attention.head_count", None, "head_count is missing"),
    ("qwen3.attention.head_count_kv", u32(3), "head_count is 2, expected a multiple of attention.head_count_kv, 3"),
    ("qwen3.attention.head_count_kv", u32(0), "head_count_kv is 0"),
    ("qwen3.attention.value_length", u32(64), "value_length is 64, expected the same as attention.key_length, 32"),
    ("qwen3.attention.layer_norm_rms_epsilon", None, "layer_norm_rms_epsilon is missing"),
    ("qwen3.attention.layer_norm_rms_epsilon", f32(math.nan), "layer_norm_rms_epsilon is nan"),
    ("qwen3.attention.layer_norm_rms_epsilon", f32(-1e-6), "layer_norm_rms_epsilon is -9.9"),
    ("qwen3.attention.layer_norm_rms_epsilon", f32(math.inf), "layer_norm_rms_epsilon is inf"),
    ("qwen3.attention.layer_norm_rms_epsilon", u32(1), "layer_norm_rms_epsilon is 1, expected a finite float"),
    ("qwen3.rope.freq_base", f32(math.nan), "freq_base is nan"),
    ("qwen3.rope.freq_base", f32(-1e6), "freq_base is -1000000.0"),
    ("qwen3.rope.freq_base", f32(1), "freq_base is 1.0, expected a number above 1"),
    ("qwen3.rope.dimension_count", u32(16), "dimension_count is 16, expected the head width, 32"),
    ("qwen3.rope.scaling.type", "longrope", "scaling.type is 'longrope', expected none, linear or yarn"),
    ("qwen3.rope.scaling.type", u32(1), "scaling.type is 1"),
    ("qwen3.rope.scaling.factor", f32(0), "scaling.factor is 0.0"),
    ("qwen3.rope.scaling.yarn_ext_factor", f32(0.5), "yarn_ext_factor is 0.5"),
    ("qwen3.rope.scaling.yarn_beta_fast", f32(0.5), "yarn_beta_fast is 0.5, expected more than yarn_beta_slow, 1.0"),
    ("qwen3.rope.scale_linear", f32(2), "scale_linear is 2.0"),
    ("qwen3.expert_count", u32(8), "expert_count is 8"),
    ("qwen3.vocab_size", u32(51), "vocab_size is 51, expected the number of rows of token_embd.weight, 50"),
    ("tokenizer.ggml.tokens", ["a"] * 49, "tokenizer.ggml.tokens has 49 tokens, token_embd.weight has 50 rows"),
    ("tokenizer.ggml.tokens", ["a"] * 4900, "tokenizer.ggml.tokens has 4900 tokens"),
]


@pytest.mark.parametrize(("key", "value", "words"), METADATA_FAULTS, ids=lambda v: v[:40] if isinstance(v, str) else "")
def test_faulty_metadata(key: str, value: Value | None, words: str, tmp_path: Path) -> None:
    text = refused(write_model(tmp_path / "m.gguf", {key: value}))
    assert words in text
    assert len(text) < len(str(tmp_path)) + 300


def test_yarn_does_not_shrink(tmp_path: Path) -> None:
    metadata: dict[str, Value | None] = {"qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": f32(0.5)}
    assert "factor is 0.5, expected 1 or more" in refused(write_model(tmp_path / "m.gguf", metadata))


@pytest.mark.parametrize("width", [16, 33, 31, 258, 512])
def test_faulty_head_width(width: int, tmp_path: Path) -> None:
    keys = ("attention.key_length", "attention.value_length", "rope.dimension_count")
    text = refused(write_model(tmp_path / "m.gguf", {f"qwen3.{key}": u32(width) for key in keys}))
    assert f"key_length is {width}, expected an even head width of 32 to 256" in text


def test_head_width_that_does_not_divide(tmp_path: Path) -> None:
    metadata: dict[str, Value | None] = {"qwen3.attention.key_length": None, "qwen3.attention.head_count": u32(3)}
    text = refused(write_model(tmp_path / "m.gguf", metadata | {"qwen3.attention.head_count_kv": u32(1)}))
    assert "embedding_length is 64, expected a multiple of attention.head_count, 3" in text


TensorFault = tuple[str, tuple[tuple[int, ...], int] | None, str]
TENSOR_FAULTS: list[TensorFault] = [
    *((name, None, f"tensor {name!r} is missing") for name in default_tensors() if name != "output.weight"),
    ("blk.0.attn_q.weight", ((64, 64), IQ4_XS), "'blk.0.attn_q.weight' has the type IQ4_XS; supported are F32, F16,"),
    ("blk.0.attn_q.weight", ((64, 64), 200), "'blk.0.attn_q.weight' has the type number 200; supported"),
    ("blk.1.attn_q.weight", ((64, 32), F32), "'blk.1.attn_q.weight' has the shape (64, 32), expected (64, 64)"),
    ("blk.1.attn_q.weight", ((64, 64, 1), F32), "has the shape (64, 64, 1), expected (64, 64)"),
    ("blk.1.attn_q_norm.weight", ((32,), Q8_0), "'blk.1.attn_q_norm.weight' has the type Q8_0, expected F32"),
    ("output.weight", ((49, 64), F32), "'output.weight' has the shape (49, 64), expected (50, 64)"),
    ("token_embd.weight", ((64,), F32), "token_embd.weight"),
    ("blk.0.attn_qkv.weight", ((128, 64), F32), "'blk.0.attn_qkv.weight': fused attn_qkv is not supported"),
    ("blk.0.attn_q.bias", ((64,), F32), "tensor 'blk.0.attn_k.bias' is missing"),
    ("blk.1.attn_q.bias", ((64,), F32), "tensor 'blk.1.attn_q.bias' is not part of a qwen3 model"),
    ("rope_freqs.weight", ((16,), F32), "tensor 'rope_freqs.weight' is not part of a qwen3 model"),
]


@pytest.mark.parametrize(("name", "info", "words"), TENSOR_FAULTS, ids=lambda v: v[:60] if isinstance(v, str) else "")
def test_faulty_tensor(name: str, info: tuple[tuple[int, ...], int] | None, words: str, tmp_path: Path) -> None:
    assert words in refused(write_model(tmp_path / "m.gguf", None, {name: info}))


def test_the_architecture_is_named_before_its_strange_types(tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.gguf", {"general.architecture": "gemma4"}, {"x": ((64,), IQ4_XS)})
    assert "architecture 'gemma4'" in refused(path)


def test_a_tensor_that_is_not_there(tmp_path: Path) -> None:
    model = open_model(write_model(tmp_path / "m.gguf"))
    with pytest.raises(BadInput, match=r"tensor 'blk\.9\.attn_q\.weight' is missing"):
        model.tensor("blk.9.attn_q.weight")
    assert model.head().shape == (SHAPE.vocab, SHAPE.dim)
