"""Bytes and operations that a token needs, from the tensor list of the model file and the KV cache.

Counted: every weight that is read, once per step; the embedding row of each token; keys and values read and written.
Not counted: activations (they stay in the cache of the chip), norms, RoPE and softmax arithmetic (below one percent).
One multiply-add is two operations.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.schema import PlannedRow

EMBEDDING, HEAD = "token_embd.weight", "output.weight"


@dataclass(frozen=True, kw_only=True)
class TensorFacts:
    """One line of the tensor list; `shape` in numpy order."""

    name: str
    shape: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """What the model of work has to know of a model."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    layer_bytes: int  # all tensors of all layers and the last norm
    layer_weights: int  # elements of all their matrices
    head_bytes: int
    head_weights: int
    embedding_row_bytes: int
    kv_bytes: int  # of one element of the KV cache

    @property
    def kv_position_bytes(self) -> int:
        """Keys and values of one position, all layers."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bytes

    @property
    def attention_operations(self) -> int:
        """Of one query against one key: the dot product and the weighted sum, all layers and heads."""
        return 4 * self.layers * self.heads * self.head_dim


@dataclass(frozen=True, kw_only=True)
class Work:
    """Per token."""

    bytes: float
    operations: float


def model_size(
    tensors: Iterable[TensorFacts], *, layers: int, heads: int, kv_heads: int, head_dim: int, kv_bytes: int
) -> ModelSize:
    """Add up a tensor list. A model without an output matrix of its own reads the embedding table as its head."""
    table = {tensor.name: tensor for tensor in tensors}
    embedding = table[EMBEDDING]
    head = table.get(HEAD, embedding)
    rest = [tensor for tensor in table.values() if tensor.name not in (EMBEDDING, HEAD)]
    return ModelSize(
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        layer_bytes=sum(tensor.bytes for tensor in rest),
        layer_weights=sum(_elements(tensor) for tensor in rest if len(tensor.shape) > 1),
        head_bytes=head.bytes,
        head_weights=_elements(head),
        embedding_row_bytes=embedding.bytes // embedding.shape[0],
        kv_bytes=kv_bytes,
    )


def decode_work(size: ModelSize, *, position: int, tokens: int) -> Work:
    """Mean over `tokens` steps of one row, the first at `position`; a step at p reads p + 1 keys and writes one."""
    keys = position + (tokens + 1) / 2
    return Work(
        bytes=size.layer_bytes + size.head_bytes + size.embedding_row_bytes + size.kv_position_bytes * (keys + 1),
        operations=2 * (size.layer_weights + size.head_weights) + size.attention_operations * keys,
    )


def prefill_work(size: ModelSize, *, position: int, tokens: int, batch: int) -> Work:
    """Mean over a prompt in passes of `batch` rows, the first at `position`; logits of the last row only.

    A pass reads the weights once and each key and value once. Passes of one row are the sequential prefill, which
    computes logits at every token.
    """
    if batch == 1:
        return decode_work(size, position=position, tokens=tokens)
    ends = [min(first + batch, tokens) for first in range(0, tokens, batch)]
    keys_read = sum(position + end for end in ends)
    read = len(ends) * size.layer_bytes + size.head_bytes + tokens * size.embedding_row_bytes
    moved = read + size.kv_position_bytes * (keys_read + tokens)
    keys = position + (tokens + 1) / 2
    operations = 2 * size.layer_weights + 2 * size.head_weights / tokens + size.attention_operations * keys
    return Work(bytes=moved / tokens, operations=operations)


def works(row: PlannedRow, size: ModelSize) -> tuple[Work, Work]:
    """Of a row's prompt and of its answer, each the mean over its tokens."""
    shape, toggles = row.shape, row.toggles
    batch = 1 if toggles["prefill"] == "sequential" else min(int(toggles["chunk"]), shape.context)
    return (
        prefill_work(size, position=shape.depth, tokens=shape.prompt, batch=batch),
        decode_work(size, position=shape.depth + shape.prompt, tokens=shape.generated),
    )


def _elements(tensor: TensorFacts) -> int:
    product = 1
    for extent in tensor.shape:
        product *= extent
    return product
