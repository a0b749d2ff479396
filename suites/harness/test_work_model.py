"""Bytes and operations per token against values computed by hand."""

from __future__ import annotations

import pytest

from harness.work_model import ModelSize, TensorFacts, decode_work, model_size, prefill_work

# One layer, dim 8, two heads of 4, one key head, ff 16, vocab 10; two bytes a weight, norms in float32.
LAYER = [
    TensorFacts(name="blk.0.attn_norm.weight", shape=(8,), bytes=32),
    TensorFacts(name="blk.0.attn_q.weight", shape=(8, 8), bytes=128),
    TensorFacts(name="blk.0.attn_k.weight", shape=(4, 8), bytes=64),
    TensorFacts(name="blk.0.attn_v.weight", shape=(4, 8), bytes=64),
    TensorFacts(name="blk.0.attn_output.weight", shape=(8, 8), bytes=128),
    TensorFacts(name="blk.0.ffn_gate.weight", shape=(16, 8), bytes=256),
    TensorFacts(name="blk.0.ffn_up.weight", shape=(16, 8), bytes=256),
    TensorFacts(name="blk.0.ffn_down.weight", shape=(8, 16), bytes=256),
    TensorFacts(name="output_norm.weight", shape=(8,), bytes=32),
]
TABLE = TensorFacts(name="token_embd.weight", shape=(10, 8), bytes=160)
HEAD = TensorFacts(name="output.weight", shape=(10, 8), bytes=240)

LAYER_BYTES = 32 + 128 + 64 + 64 + 128 + 256 + 256 + 256 + 32  # 1216
LAYER_WEIGHTS = 64 + 32 + 32 + 64 + 128 + 128 + 128  # 576
POSITION = 2 * 1 * 1 * 4 * 2  # keys and values of one position in float16: 16 bytes


def size(*, tied: bool) -> ModelSize:
    tensors = [TABLE, *LAYER, *([] if tied else [HEAD])]
    return model_size(tensors, layers=1, heads=2, kv_heads=1, head_dim=4, kv_bytes=2)


def test_the_tensor_list_is_added_up() -> None:
    untied = size(tied=False)
    assert (untied.layer_bytes, untied.layer_weights) == (LAYER_BYTES, LAYER_WEIGHTS)
    assert (untied.head_bytes, untied.head_weights, untied.embedding_row_bytes) == (240, 80, 16)
    assert untied.kv_position_bytes == POSITION
    assert untied.attention_operations == 4 * 2 * 4


def test_a_tied_model_reads_its_table_as_the_head() -> None:
    assert size(tied=True).head_bytes == 160


def test_one_decoded_token() -> None:
    # At position 5: six keys are read (five and its own), one is written.
    work = decode_work(size(tied=False), position=5, tokens=1)
    assert work.bytes == LAYER_BYTES + 240 + 16 + 6 * POSITION + POSITION
    assert work.operations == 2 * (LAYER_WEIGHTS + 80) + 32 * 6


def test_decoded_tokens_are_averaged() -> None:
    # At positions 5, 6, 7: 6, 7 and 8 keys, 7 on average.
    work = decode_work(size(tied=False), position=5, tokens=3)
    assert work.bytes == LAYER_BYTES + 240 + 16 + 8 * POSITION
    assert work.operations == 2 * (LAYER_WEIGHTS + 80) + 32 * 7


def test_a_prompt_in_passes() -> None:
    # Five tokens in passes of 2, 2 and 1 behind 10: the passes read the weights and 12, 14 and 15 positions.
    work = prefill_work(size(tied=False), position=10, tokens=5, batch=2)
    read = 3 * LAYER_BYTES + 240 + 5 * 16 + (12 + 14 + 15) * POSITION + 5 * POSITION
    assert work.bytes == pytest.approx(read / 5, rel=1e-12)
    keys = 11 + 12 + 13 + 14 + 15
    assert work.operations == pytest.approx((2 * LAYER_WEIGHTS * 5 + 2 * 80 + 32 * keys) / 5, rel=1e-12)


def test_sequential_prefill_is_decoding() -> None:
    assert prefill_work(size(tied=True), position=3, tokens=4, batch=1) == decode_work(
        size(tied=True), position=3, tokens=4
    )
