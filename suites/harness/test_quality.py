"""`zeroulp quality`: its figures are the textbook's, its exact form has the oracle's bits, and a NaN is found."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.adapters.quality import ModelQuality, measure_quality, seeded_tokens
from harness.adapters.watched import Watched
from harness.cli.main import zeroulp
from harness.quality import by_op, first_not_finite, kl_divergence, logit_quality, tap_error
from reference.families import qwen3
from reference.spec.model import Model, open_model
from reference.synth import SynthShape
from suites.models import Models, assert_same_bits, oracle_logits, random_tokens

Captured = pytest.CaptureFixture[str]
ATTENTION = ("attn_norm", "q", "k", "v", "q_norm", "k_norm", "q_rope", "k_rope", "attention", "attn_output")
FFN = ("attn_residual", "ffn_norm", "gate", "up", "swiglu", "down", "ffn_residual")
OPS = ["embedding", *ATTENTION, *FFN, "output_norm", "logits"]
BIASED = SynthShape(layers=2, dim=64, heads=2, kv_heads=1, head_dim=32, ff=96, vocab=96, biases=True)


def found(model: Model, *, kv: str = "f16", tokens: int = 12, layers: int | None = None) -> ModelQuality:
    seen: list[tuple[int, int]] = []
    ids = random_tokens(model, tokens, 3)
    quality = measure_quality(
        model, ids, kv=kv, layers=layers, on_layer=lambda done, total, *_: seen.append((done, total))
    )
    assert seen == [(i + 1, quality.layers) for i in range(quality.layers)]
    return quality


def test_kl_divergence_of_known_distributions() -> None:
    right, left = np.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]), np.array([[0.25, 0.5, 0.25], [0.2, 0.3, 0.5]])
    kl = kl_divergence((np.log(left) + 3).astype(np.float32), np.log(right) - 5)
    assert kl == pytest.approx([0.25 * np.log(2), 0], abs=1e-7)


def test_kl_divergence_of_far_logits_is_finite() -> None:
    kl = kl_divergence(np.array([[0, 2000]], np.float32), np.array([[2000.0, 0]]))
    assert kl == pytest.approx([2000])


def test_logit_quality_of_a_known_difference() -> None:
    right = np.tile([[3.0, 4.0]], (100, 1))
    left = right.astype(np.float32)
    left[7] = [4, 3]
    quality = logit_quality(left, right)
    assert (quality.positions, quality.top1_same, quality.kl_max_position) == (100, 99, 7)
    assert quality.nmse == pytest.approx(2 / 2500)
    share = 1 / (1 + np.exp(-1))
    assert quality.kl_max == pytest.approx(2 * share - 1)  # log p differs by 1 both ways
    assert quality.kl_mean == pytest.approx(quality.kl_max / 100)
    assert quality.kl_p99 == pytest.approx(0.01 * quality.kl_max)  # a hundredth of the way from the 99th to the 100th


def test_tap_error_counts_ulps_and_says_where() -> None:
    alone = np.ones((3, 5))
    left = alone.astype(np.float32)
    left[2, 1] = 1 + 3 * 2.0**-23
    left[0, 4] = 1 - 2.0**-24
    error = tap_error("q", 4, left, alone, 2 * alone)
    assert (error.worst_ulp, error.worst_index) == (3, (2, 1))
    assert error.carried_rms == pytest.approx(0.5)
    worst = by_op([error, tap_error("q", 5, alone.astype(np.float32), alone, 4 * alone)])
    assert [(op.op, op.layers, op.ulp.layer, op.alone.layer, op.carried.layer) for op in worst] == [("q", 2, 4, 4, 5)]


def test_the_first_value_that_is_not_finite() -> None:
    values = np.zeros((2, 3))
    assert first_not_finite(values) == ""
    values[1, 2], values[1, 0] = np.nan, -np.inf
    assert first_not_finite(values) == "-inf at [1, 0]"


@pytest.mark.parametrize("quant", ["F32", "Q4_K_M"])
def test_the_watched_form_has_the_bits_of_the_exact_one(models: Models, quant: str) -> None:
    model = models.tiny(quant)
    ids = random_tokens(model, 9, 1)
    form = Watched(model, len(ids)).form
    cache = qwen3.new_cache(model, len(ids), kv="f16", form=form)
    assert_same_bits(qwen3.forward(model, ids, cache, form=form).astype(np.float32), oracle_logits(model, ids), quant)


@pytest.mark.parametrize("biased", [False, True])
def test_every_op_alone_is_near_the_ideal_one(models: Models, biased: bool) -> None:
    """Float weights quantise nothing, so that each op alone is good to float32; the carried error is larger."""
    model = models.variant("biased", "F32", BIASED) if biased else models.tiny("F32")
    quality = found(model, kv="f32")
    assert [op.op for op in quality.ops] == OPS
    for op in quality.ops:
        assert op.layers == (1 if op.ulp.layer < 0 else model.spec.layers)
        assert op.alone.alone_rms < 3e-7, op
        assert op.carried.carried_rms < 3e-6, op
        if op.op in ("embedding", "attn_residual", "ffn_residual"):
            assert op.ulp.worst_ulp == 0
        if op.op.endswith("norm") or op.op == "swiglu":
            assert op.ulp.worst_ulp <= 6, op
    logits = quality.logits
    assert logits is not None
    assert logits.nmse < 1e-11
    assert logits.top1_same == logits.positions == 12
    assert 0 <= logits.kl_mean <= logits.kl_max < 1e-11


@pytest.mark.parametrize("biased", [False, True])
def test_quantised_activations_count_as_the_matmuls_own(models: Models, biased: bool) -> None:
    """With a bias the projection is two ops, and both count."""
    model = models.variant("biased", "Q8_0", BIASED) if biased else models.tiny("Q8_0")
    ops = {op.op: op for op in found(model).ops}
    for name in ("q", "k", "v", "attn_output", "gate", "up", "down", "logits"):
        assert 1e-3 < ops[name].alone.alone_rms < 3e-2
    for name in ("attn_norm", "q_norm", "q_rope", "swiglu", "ffn_residual"):
        assert ops[name].alone.alone_rms < 1e-6
        assert ops[name].carried.carried_rms > 1e-3


def test_the_kv_type_counts_as_attentions_own(models: Models) -> None:
    half, single = (found(models.tiny("Q8_0"), kv=kv) for kv in ("f16", "f32"))
    rms = [next(op.alone.alone_rms for op in quality.ops if op.op == "attention") for quality in (half, single)]
    assert rms[1] < 1e-6 < 1e-5 < rms[0]
    assert half.logits != single.logits


def test_first_layers_only_have_no_logits_and_the_same_figures(models: Models) -> None:
    model = models.tiny("Q8_0")
    part, whole = found(model, layers=1), found(model, layers=model.spec.layers)
    assert part.logits is None
    assert whole.logits is not None
    assert [op.op for op in part.ops] == OPS[:-2]
    assert part.ops[0] == whole.ops[0]


@pytest.fixture
def tiny(models: Models) -> str:
    return str(models.tiny("Q8_0").file.path)


def test_the_table_says_what_was_compared(tiny: str, capsys: Captured) -> None:
    assert zeroulp(["quality", tiny, "--tokens", "6", "--seed", "5"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == f"{tiny}: exact (numerics 1, kv f16) against ideal"
    assert "matrices Q8_0" in lines[1]
    assert "6 tokens (random, seed 5); 3 layers" in lines[1]
    assert [line.split()[0] for line in lines[3 : 3 + len(OPS)]] == OPS
    assert any(line.startswith("top-1 agreement: ") and " of 6 positions" in line for line in lines)
    assert any("float64 mathematics on the same dequantised weights" in line for line in lines)


def test_json_has_all_figures_and_is_the_same_again(tiny: str, tmp_path: Path, capsys: Captured) -> None:
    assert zeroulp(["quality", tiny, "--tokens", "6", "--json"]) == 0
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert facts["weight_types"].keys() == {"Q8_0"}
    assert (facts["numerics"], facts["kv"], facts["tokens"], facts["source"]) == (1, "f16", 6, "random, seed 1")
    assert [op["op"] for op in facts["ops"]] == OPS
    assert facts["logits"]["positions"] == 6
    assert 0 <= facts["logits"]["top1_agreement"] <= 1
    (tmp_path / "ids").write_text(" ".join(str(i) for i in seeded_tokens(open_model(tiny), 6, 1)))
    assert zeroulp(["quality", tiny, "--tokens-file", str(tmp_path / "ids"), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["source"] == str(tmp_path / "ids")
    assert {**again, "source": facts["source"]} == facts


def test_first_layers_are_said_to_have_no_logits(tiny: str, capsys: Captured) -> None:
    assert zeroulp(["quality", tiny, "--tokens", "2", "--layers", "2"]) == 0
    assert "logits were not compared: only 2 of 3 layers were computed" in capsys.readouterr().out
    assert zeroulp(["quality", tiny, "--tokens", "2", "--layers", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["logits"] is None


def test_long_work_says_how_long(tiny: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    monkeypatch.setattr("harness.cli.quality.LONG_SECONDS", 0.0)
    assert zeroulp(["quality", tiny, "--tokens", "2"]) == 0
    err = capsys.readouterr().err.splitlines()
    assert err[0].startswith("layer 1 of 3 took ")
    assert "to go" in err[0]
    assert len(err) == 3


@pytest.mark.parametrize(
    ("tensor", "where"),
    [
        ("blk.1.ffn_norm.weight", "exact form, ffn_norm of layer 1: NaN at [0, 2]"),
        ("output_norm.weight", "exact form, output_norm: NaN at [0, 2]"),
    ],
)
def test_a_nan_is_exit_code_1_with_its_place(
    models: Models, tmp_path: Path, tensor: str, where: str, capsys: Captured
) -> None:
    model = models.tiny("Q8_0")
    data = bytearray(model.file.path.read_bytes())
    at = model.file.tensors[tensor].offset + 2 * 4
    data[at : at + 4] = np.float32(np.nan).tobytes()
    (tmp_path / "nan.gguf").write_bytes(data)
    call = ["quality", str(tmp_path / "nan.gguf"), "--tokens", "3"]
    assert zeroulp(call) == 1
    assert f"NOT FINITE: {where}" in capsys.readouterr().out
    assert zeroulp([*call, "--json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["not_finite"], facts["logits"]) == (where, None)
    assert facts["ops"][0]["op"] == "embedding"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--layers", "4"), ("--layers 4", "1 .. 3")),
        (("--layers", "0"), ("--layers",)),
        (("--tokens", "0"), ("--tokens",)),
        (("--kv", "q8_0"), ("--kv", "f16")),
        (("--seed", "-1"), ("--seed",)),
        (("--tokens-file", "ids"), ("ids", "cannot read")),
        (("--tokens-file", "ids", "--tokens", "3"), ("--tokens-file gives the tokens",)),
        (("--tokens-file", "ids", "--seed", "3"), ("--tokens-file gives the tokens",)),
    ],
)
def test_a_bad_call_is_one_line(tiny: str, options: tuple[str, ...], words: tuple[str, ...], capsys: Captured) -> None:
    assert zeroulp(["quality", tiny, *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_token_outside_the_vocabulary(tiny: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "ids").write_text("1, 512")
    assert zeroulp(["quality", tiny, "--tokens-file", str(tmp_path / "ids")]) == 2
    assert capsys.readouterr().err == "zeroulp: token id 512: the vocabulary has 0 .. 511\n"
