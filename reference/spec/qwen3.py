"""The dense Qwen3 family: hyper-parameters and tensor shapes, read from a GGUF file and checked against each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from reference.spec.gguf_file import GgufFile
from reference.spec.gguf_header import kind_of
from reference.spec.metadata import Metadata
from reference.spec.rope_table import Rope

ARCHITECTURE = "qwen3"
SMALLEST_HEAD, LARGEST_HEAD = 32, 256
BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias")

# Keys that change what is computed and that a dense Qwen3 does not have: anything but 0 is refused.
_FOREIGN_KEYS = ("expert_count", "nextn_predict_layers", "rope.scale_linear")


@dataclass(frozen=True, kw_only=True)
class Qwen3:
    """What a dense Qwen3 is, apart from its weights."""

    layers: int
    dim: int
    ff: int  # width of the feed-forward part
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context_train: int
    eps: float  # a float32 value
    rope: Rope
    tied: bool  # the head is the embedding table
    biases: bool  # q, k and v have a bias

    def tensor_shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Name and shape (numpy order) of every tensor, in the order of a file."""
        yield "token_embd.weight", (self.vocab, self.dim)
        for layer in range(self.layers):
            for name, shape in self._layer_shapes():
                yield f"blk.{layer}.{name}", shape
        yield "output_norm.weight", (self.dim,)
        if not self.tied:
            yield "output.weight", (self.vocab, self.dim)

    def _layer_shapes(self) -> list[tuple[str, tuple[int, ...]]]:
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: list[tuple[str, tuple[int, ...]]] = [
            ("attn_norm.weight", (self.dim,)),
            ("attn_q.weight", (queries, self.dim)),
            ("attn_k.weight", (keys, self.dim)),
            ("attn_v.weight", (keys, self.dim)),
            ("attn_q_norm.weight", (self.head_dim,)),
            ("attn_k_norm.weight", (self.head_dim,)),
            ("attn_output.weight", (self.dim, queries)),
            ("ffn_norm.weight", (self.dim,)),
            ("ffn_gate.weight", (self.ff, self.dim)),
            ("ffn_up.weight", (self.ff, self.dim)),
            ("ffn_down.weight", (self.dim, self.ff)),
        ]
        if self.biases:
            shapes += zip(BIASES, ((queries,), (keys,), (keys,)), strict=True)
        return shapes


def read_qwen3(file: GgufFile) -> Qwen3:
    """Read and check everything a dense Qwen3 needs. Raises BadInput, one line, on the first fault."""
    keys = Metadata(file, ARCHITECTURE)
    for foreign in _FOREIGN_KEYS:
        if keys.number(foreign, default=0):
            raise keys.fault(foreign, "0 or no such key (not a dense Qwen3)")
    layers = keys.count("block_count")
    dim = keys.count("embedding_length")
    heads = keys.count_per_layer("attention.head_count", layers)
    kv_heads = keys.count_per_layer("attention.head_count_kv", layers, default=heads)
    if heads % kv_heads:
        raise keys.fault("attention.head_count", f"a multiple of attention.head_count_kv, {kv_heads}")
    head_dim = _head_dim(keys, dim, heads)
    context_train = keys.count("context_length")
    spec = Qwen3(
        layers=layers,
        dim=dim,
        ff=keys.count_per_layer("feed_forward_length", layers),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        vocab=_vocab(file, keys),
        context_train=context_train,
        eps=keys.positive("attention.layer_norm_rms_epsilon"),
        rope=_rope(keys, head_dim, context_train),
        tied="output.weight" not in file.tensors,
        biases=any(f"blk.0.{name}" in file.tensors for name in BIASES),
    )
    _check_tensors(file, spec)
    return spec


def _head_dim(keys: Metadata, dim: int, heads: int) -> int:
    head_dim = keys.count("attention.key_length", default=dim // heads)
    if "attention.key_length" not in keys and dim % heads:
        raise keys.fault("embedding_length", f"a multiple of attention.head_count, {heads}, as there is no key_length")
    if keys.count("attention.value_length", default=head_dim) != head_dim:
        raise keys.fault("attention.value_length", f"the same as attention.key_length, {head_dim}")
    if head_dim % 2 or not SMALLEST_HEAD <= head_dim <= LARGEST_HEAD:
        raise keys.fault("attention.key_length", f"an even head width of {SMALLEST_HEAD} to {LARGEST_HEAD}", head_dim)
    return head_dim


def _vocab(file: GgufFile, keys: Metadata) -> int:
    """Rows of the embedding table, which the metadata may repeat but not contradict."""
    table = file.tensors.get("token_embd.weight")
    if table is None:
        raise file.fault("tensor 'token_embd.weight' is missing")
    vocab = table.shape[0]
    if keys.count("vocab_size", default=vocab) != vocab:
        raise keys.fault("vocab_size", f"the number of rows of token_embd.weight, {vocab}")
    tokens = keys.length_of("tokenizer.ggml.tokens")
    if tokens is not None and tokens != vocab:
        raise file.fault(f"tokenizer.ggml.tokens has {tokens} tokens, token_embd.weight has {vocab} rows")
    return vocab


def _rope(keys: Metadata, head_dim: int, context_train: int) -> Rope:
    """Defaults as in llama.cpp: scaling "linear" by a factor of 1 where nothing is said."""
    if keys.count("rope.dimension_count", default=head_dim) != head_dim:
        raise keys.fault("rope.dimension_count", f"the head width, {head_dim}")
    theta = keys.positive("rope.freq_base", default=10000.0)
    if not theta > 1:
        raise keys.fault("rope.freq_base", "a number above 1")
    scaling = _scaling(keys)
    factor = keys.positive("rope.scaling.factor", default=1.0)
    if scaling == "yarn" and not factor >= 1:
        raise keys.fault("rope.scaling.factor", "1 or more for yarn")
    attn_factor = keys.positive("rope.scaling.attn_factor", default=1.0)
    rope = Rope(
        theta=theta,
        n_rot=head_dim,
        scaling=scaling,
        factor=1.0 if scaling == "none" else factor,
        original_context=keys.count("rope.scaling.original_context_length", default=context_train),
        attn_factor=attn_factor * keys.positive("rope.scaling.yarn_attn_factor", default=1.0),
        beta_fast=keys.positive("rope.scaling.yarn_beta_fast", default=32.0),
        beta_slow=keys.positive("rope.scaling.yarn_beta_slow", default=1.0),
    )
    if not rope.beta_fast > rope.beta_slow:
        raise keys.fault("rope.scaling.yarn_beta_fast", f"more than yarn_beta_slow, {rope.beta_slow}", rope.beta_fast)
    return rope


def _scaling(keys: Metadata) -> Literal["none", "linear", "yarn"]:
    scaling = keys.text("rope.scaling.type", default="linear")
    # -1 means "by the type": 1 for yarn, 0 for the others. Blends in between are not supported.
    extension = keys.number("rope.scaling.yarn_ext_factor", default=-1.0)
    if not (extension < 0 or extension == (1 if scaling == "yarn" else 0)):
        raise keys.fault("rope.scaling.yarn_ext_factor", f"-1 or no such key with scaling {kind_of(scaling)}")
    match scaling:
        case "none" | "linear" | "yarn":
            return scaling
    raise keys.fault("rope.scaling.type", "none, linear or yarn")


def _check_tensors(file: GgufFile, spec: Qwen3) -> None:
    """Every tensor of the family is there in its shape and a supported type, and no other one is."""
    for fused in (name for name in file.tensors if ".attn_qkv." in name):
        raise file.fault(f"tensor {fused!r}: fused attn_qkv is not supported, expected attn_q, attn_k and attn_v")
    known = 0
    for name, shape in spec.tensor_shapes():
        info = file.tensors.get(name)
        if info is None:
            raise file.fault(f"tensor {name!r} is missing")
        file.require_supported(info)
        if info.shape != shape:
            raise file.fault(f"tensor {name!r} has the shape {info.shape}, expected {shape}")
        if len(shape) == 1 and info.type not in ("F32", "F16", "BF16"):
            raise file.fault(f"tensor {name!r} has the type {info.type}, expected F32, F16 or BF16 for a vector")
        known += 1
    if known != len(file.tensors):
        expected = {name for name, _ in spec.tensor_shapes()}
        strange = next(name for name in file.tensors if name not in expected)
        raise file.fault(f"tensor {strange!r} is not part of a {ARCHITECTURE} model of this shape")
