"""What goes into a synthetic file: metadata, and every tensor with its type, mean and standard deviation.

Conditioned so that a small change of weights or activations makes a small change of the logits: the embedding has
standard deviation 1, every projection keeps the scale of its input, and the two projections of a layer that write to
the residual stream are damped by 0.5 / sqrt(layers), so that no layer drowns the one before it. Logits have a standard
deviation near 1.
"""

from __future__ import annotations

import math

from reference.spec.qwen3 import ARCHITECTURE, Qwen3
from reference.synth.header import Entry, PlannedTensor
from reference.synth.mix import FILE_TYPES, tensor_type
from reference.synth.shapes import SynthShape

_RESIDUAL_WRITERS = ("attn_output.weight", "ffn_down.weight")
_NORM_SPREAD = 0.1
_BIAS_STD = 0.2


def plan_tensors(spec: Qwen3, quant: str) -> list[PlannedTensor]:
    """Every tensor in the order of the file. Raises BadInput where `quant` needs a type that is not supported."""
    planned = []
    for name, shape in spec.tensor_shapes():
        mean, std = _distribution(name, shape, spec)
        kind = tensor_type(quant, name, shape, spec)
        planned.append(PlannedTensor(name=name, type=kind, shape=shape, mean=mean, std=std))
    return planned


def _distribution(name: str, shape: tuple[int, ...], spec: Qwen3) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's values."""
    if name.endswith(".bias"):
        return 0.0, _BIAS_STD
    if name.endswith("norm.weight"):
        if spec.tied and name == "output_norm.weight":
            # A tied head has the embedding's deviation of 1, so its input is scaled down instead; with both signs, or
            # every token would be most like itself and greedy decoding would repeat the first for ever.
            return 0.0, 1 / math.sqrt(spec.dim)
        return 1.0, _NORM_SPREAD
    if name == "token_embd.weight":
        return 0.0, 1.0
    damping = 0.5 / math.sqrt(spec.layers) if name.endswith(_RESIDUAL_WRITERS) else 1.0
    return 0.0, damping / math.sqrt(shape[-1])


def plan_metadata(shape: SynthShape, *, name: str, quant: str, seed: int) -> list[Entry]:
    """All keys that a dense Qwen3 needs, here and in llama.cpp; tokenizer "none" stands for token ids in and out."""
    entries = [
        _text("general.architecture", ARCHITECTURE),
        _text("general.name", f"{name} {quant}"),
        _text("general.description", "random weights for tests of inference engines"),
        _count("general.file_type", FILE_TYPES[quant]),
        _count("general.quantization_version", 2),
        Entry(key="zeroulp.seed", kind="uint64", value=seed),
        _count("block_count", shape.layers),
        _count("context_length", shape.context),
        _count("embedding_length", shape.dim),
        _count("feed_forward_length", shape.ff),
        _count("attention.head_count", shape.heads),
        _count("attention.head_count_kv", shape.kv_heads),
        _count("attention.key_length", shape.head_dim),
        _count("attention.value_length", shape.head_dim),
        _real("attention.layer_norm_rms_epsilon", shape.eps),
        _count("rope.dimension_count", shape.head_dim),
        _real("rope.freq_base", shape.theta),
    ]
    if shape.scaling != "none":
        entries += [_text("rope.scaling.type", shape.scaling), _real("rope.scaling.factor", shape.factor)]
    if shape.original_context is not None:
        entries.append(_count("rope.scaling.original_context_length", shape.original_context))
    if shape.texts:  # made up: nothing turns them into ids
        texts = tuple(f"token {i}" for i in range(shape.vocab))
        entries += [_texts("tokenizer.ggml.tokens", texts), _texts("tokenizer.ggml.merges", texts)]
    return [*entries, _count("vocab_size", shape.vocab), _text("tokenizer.ggml.model", "none")]


def _full(key: str) -> str:
    return key if key.startswith(("general.", "tokenizer.")) else f"{ARCHITECTURE}.{key}"


def _text(key: str, value: str) -> Entry:
    return Entry(key=_full(key), kind="string", value=value)


def _texts(key: str, value: tuple[str, ...]) -> Entry:
    return Entry(key=_full(key), kind="strings", value=value)


def _count(key: str, value: int) -> Entry:
    return Entry(key=_full(key), kind="uint32", value=value)


def _real(key: str, value: float) -> Entry:
    return Entry(key=_full(key), kind="float32", value=value)
