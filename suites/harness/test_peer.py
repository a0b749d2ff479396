"""What llama-bench prints: read strictly, and set beside our rows only where file, model and test are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.adapters.models import FileFacts, file_facts
from harness.adapters.settings import BadInput
from harness.peer import Target, matched, parse_entries, peer_of
from harness.peer_sweep import from_file
from harness.schema import Peer, Shape
from suites.harness.llama_bench import entry
from suites.harness.records import MODEL, TIME
from suites.models import Models

FILE = FileFacts(architecture="qwen3", layers=36, tensor_bytes=4_000_000)


def target(**shape: int) -> Target:
    asked = Shape(**{"prompt": 128, "generated": 64, "context": 512, **shape})
    return Target(model=MODEL, shape=asked, path="/models/m.gguf", file=FILE)


def parsed(*entries: dict[str, Any]) -> Any:
    return parse_entries(json.dumps(list(entries)).encode(), "out.json")


def test_an_entry_is_read_with_what_it_ran_with() -> None:
    (found,) = parsed(entry(prompt=128, repeats=3))
    peer = peer_of(found, target(), source="out.json", command="", started=TIME)
    assert peer.tps is not None
    assert [peer.tps.median, peer.tps.min, peer.tps.max] == pytest.approx([4000, 3960, 4040])
    assert (peer.build, peer.gpu, peer.kv, peer.phase) == ("0c1e570 (6789)", "Some GPU", "f16", "prefill")
    assert peer.flags == {
        "n_batch": 2048,
        "n_ubatch": 512,
        "n_gpu_layers": 99,
        "flash_attn": 1,
        "type_k": "f16",
        "type_v": "f16",
    }


def test_a_single_entry_needs_no_list() -> None:
    assert len(parse_entries(json.dumps(entry(generated=4)).encode(), "one.json")) == 1


@pytest.mark.parametrize("flash_attn", [True, 1, -1, "on"])
def test_flash_attention_as_old_and_new_builds_print_it(flash_attn: object) -> None:
    assert parsed(entry(prompt=4, flash_attn=flash_attn))[0].flash_attn == flash_attn


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "nothing, expected the output of llama-bench -o json"),
        (b"[", "no JSON"),
        (b"| model | t/s |", "no JSON"),
        (b'[{"build_commit": "\xff"}]', "no JSON"),
        (b"[]", "an empty list"),
        (b"[3]", "entry 1 is none of llama-bench -o json"),
        (b"{}", "entry 1 is none of llama-bench -o json"),
        (b"null", "entry 1 is none of llama-bench -o json"),
    ],
)
def test_what_is_not_its_output_is_refused_in_one_line(data: bytes, words: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_entries(data, "out.json")
    assert str(error.value).startswith("out.json: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "field", ["n_depth", "samples_ts", "backends", "type_k", "flash_attn", "model_size", "build_number", "gpu_info"]
)
def test_a_build_that_lacks_a_field_is_too_old(field: str) -> None:
    old = entry(prompt=4)
    del old[field]
    with pytest.raises(BadInput, match=f"out.json: entry 2 has no {field}: this llama-bench is too old"):
        parsed(entry(prompt=4), old)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"samples_ts": []}, "no tokens/s above zero"),
        ({"samples_ts": [1.0, 0.0]}, "no tokens/s above zero"),
        ({"samples_ts": [-3.0]}, "no tokens/s above zero"),
        ({"samples_ts": ["fast"]}, "samples_ts"),
        ({"n_prompt": -4}, "are no test"),
        ({"n_prompt": 0}, "are no test"),
        ({"n_prompt": "4"}, "n_prompt"),
        ({"model_filename": None}, "model_filename"),
    ],
)
def test_figures_that_are_none_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        parsed(entry(prompt=4, **changes))


def test_infinity_is_no_json() -> None:
    with pytest.raises(BadInput, match="no JSON"):
        parsed(entry(prompt=4, samples_ts=[float("inf")]))


@pytest.mark.parametrize(
    "test",
    [
        {"prompt": 128},
        {"generated": 64},  # from our depth, as it does by itself
        {"generated": 64, "depth": 128},  # from where our decode begins
        {"prompt": 128, "model": "/somewhere/else/m.gguf"},
        {"prompt": 128, "n_gpu_layers": -1},
        {"prompt": 128, "n_gpu_layers": 37},
    ],
)
def test_the_same_file_and_test_stand_beside_our_rows(test: dict[str, Any]) -> None:
    mine = target()
    assert matched(parsed(entry(**test))[0], [target(prompt=64, generated=32), mine, target(depth=32)]) == (mine,)


def test_a_decode_from_our_depth_stands_beside_every_prompt() -> None:
    """The positions are stored: the report shows that they differ."""
    both = (target(prompt=64), target())
    assert matched(parsed(entry(generated=64))[0], both) == both
    assert matched(parsed(entry(generated=64, depth=128))[0], both) == both[1:]


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ({"prompt": 128, "model": "other.gguf"}, "no row has a model file of the name other.gguf"),
        ({"prompt": 128, "model_size": 4_000_001}, "it has 4,000,001 bytes of tensors, the file here 4,000,000"),
        ({"prompt": 128, "model_type": "llama 8B Q4_K"}, "its model is llama 8B Q4_K, the file here is qwen3"),
        ({"prompt": 129}, "no row of m.gguf has prompt 129 at 0"),
        ({"prompt": 128, "depth": 32}, "no row of m.gguf has prompt 128 at 32"),
        ({"generated": 63}, "no row of m.gguf has generated 63 at 0"),
        ({"generated": 64, "depth": 64}, "no row of m.gguf has generated 64 at 64"),
        ({"prompt": 128, "generated": 64}, "a test of prompt and generation together"),
        ({"prompt": 128, "gpu_info": ""}, "it ran without a GPU"),
        ({"prompt": 128, "backends": "CPU"}, "it ran without a GPU"),
        ({"prompt": 128, "n_gpu_layers": 0}, "it ran without a GPU"),
        ({"prompt": 128, "n_gpu_layers": 36}, "it ran with 36 of 37 layers on the GPU"),
        ({"prompt": 128, "model": "\x1b[31m\n.gguf"}, r"of the name \\x1b\[31m\\n.gguf"),
    ],
)
def test_what_is_not_the_same_is_said_and_not_guessed(test: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why) as error:
        matched(parsed(entry(**test))[0], [target()])
    assert str(error.value).isprintable()


def test_entries_of_a_file_are_matched_or_listed(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    tests = [entry(prompt=128), entry(prompt=128, n_ubatch=2048), entry(generated=64), entry(prompt=5)]
    path.write_text(json.dumps(tests))
    records = from_file(path, [target()])
    assert [(record.status, record.phase) for record in records] == [
        ("ok", "prefill"),
        ("ok", "prefill"),
        ("ok", "decode"),
        ("unmatched", None),
    ]
    assert len({record.id for record in records}) == 4
    assert records[3].reason == "prompt 5 at 0: no row of m.gguf has prompt 5 at 0"
    assert records[3].label == "entry 4, qwen3 8B Q4_K - Medium"
    assert [record.id for record in from_file(path, [target()])] == [record.id for record in records]
    assert all(isinstance(record, Peer) and not record.command for record in records)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--peer-json .*: cannot read"):
        from_file(tmp_path / "none.json", [target()])


def test_what_another_program_says_of_a_model_file(models: Models) -> None:
    model = models.tiny("Q8_0")
    facts = file_facts(model.file.path)
    assert (facts.architecture, facts.layers) == ("qwen3", 3)
    assert facts.tensor_bytes == sum(model.file.raw(name).nbytes for name in model.file.tensors)
