"""Make suites/goldens/*.npz: logits of tiny Qwen3 models as transformers computes them in float64.

    pip install torch transformers numpy && python scripts/make_goldens.py

The committed files were made with torch 2.13.0 and transformers 5.23.0; the same versions make the same arrays again.

It imports nothing of this project, so that the two sides cannot share a mistake. transformers casts to float32 inside
its norm, softmax and rotary embedding whatever the model's type is; a TorchFunctionMode turns each of those casts into
one to float64, at construction (inverse frequencies) as well as in the forward pass, and refuses any float32 tensor
that is made all the same.

A file holds `config` (JSON), `tokens` (n,), `rows` (positions whose logits are kept), `logits` (rows, vocab) float64,
and every weight under its GGUF name, float16: a value that float16, float32 and float64 hold alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch.overrides import TorchFunctionMode
from transformers import Qwen3Config, Qwen3ForCausalLM

TARGET = Path(__file__).parent.parent / "suites" / "goldens"
EPS = float(np.float32(1e-6))  # GGUF holds it as float32

BASE: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 48,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "rms_norm_eps": EPS,
    "max_position_embeddings": 512,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}


def yarn(theta: float, factor: float, original: int) -> dict[str, Any]:
    return {
        "rope_type": "yarn", "rope_theta": theta, "factor": factor, "original_max_position_embeddings": original,
    }  # fmt: skip


VARIANTS: dict[str, dict[str, Any]] = {
    "untied": {},
    "tied": {"tie_word_embeddings": True, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    "biases": {"attention_bias": True, "num_hidden_layers": 3},
    "gqa_1": {
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "hidden_size": 40,
        "rms_norm_eps": float(np.float32(1e-5)),
    },
    "gqa_4": {"num_key_value_heads": 1, "intermediate_size": 100},
    "gqa_3_head_64": {"num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64, "hidden_size": 24},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0}},
    "yarn": {"max_position_embeddings": 1024, "rope_parameters": yarn(1e4, 4.0, 256)},
    "yarn_wide": {"max_position_embeddings": 8192, "rope_parameters": yarn(100.0, 2.0, 4096)},
}
LONG: dict[str, dict[str, Any]] = {
    "long": {"max_position_embeddings": 8192},
    "long_yarn": {"max_position_embeddings": 16384, "rope_parameters": yarn(1e6, 4.0, 4096)},
}
LONG_BASE = BASE | {
    "num_hidden_layers": 1,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 48,
}
LONG_TOKENS = 4160
LONG_ROWS = [0, 1, 255, 256, 257, 2047, 4095, 4096, 4097, *range(LONG_TOKENS - 8, LONG_TOKENS)]


class TrueFloat64(TorchFunctionMode):
    """Every request for float32 is one for float64."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args = tuple(torch.float64 if a is torch.float32 else a for a in args)
        kwargs = {k: torch.float64 if v is torch.float32 else v for k, v in (kwargs or {}).items()}
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        result = function(*args, **kwargs)
        if isinstance(result, torch.Tensor) and result.dtype is torch.float32:
            raise TypeError(f"{function} made a float32 tensor")
        return result


def gguf_names(layers: int) -> dict[str, str]:
    """Parameter of transformers -> tensor of GGUF (llama.cpp's names)."""
    names = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    parts = {
        "input_layernorm.weight": "attn_norm.weight",
        "self_attn.q_proj.weight": "attn_q.weight",
        "self_attn.k_proj.weight": "attn_k.weight",
        "self_attn.v_proj.weight": "attn_v.weight",
        "self_attn.q_proj.bias": "attn_q.bias",
        "self_attn.k_proj.bias": "attn_k.bias",
        "self_attn.v_proj.bias": "attn_v.bias",
        "self_attn.q_norm.weight": "attn_q_norm.weight",
        "self_attn.k_norm.weight": "attn_k_norm.weight",
        "self_attn.o_proj.weight": "attn_output.weight",
        "post_attention_layernorm.weight": "ffn_norm.weight",
        "mlp.gate_proj.weight": "ffn_gate.weight",
        "mlp.up_proj.weight": "ffn_up.weight",
        "mlp.down_proj.weight": "ffn_down.weight",
    }
    for i in range(layers):
        names |= {f"model.layers.{i}.{hf}": f"blk.{i}.{gguf}" for hf, gguf in parts.items()}
    return names


def draw(name: str, shape: tuple[int, ...], layers: int, rng: np.random.Generator) -> np.ndarray:
    """Random values on which logits are neither chaotic nor flat, in float16."""
    values = rng.standard_normal(shape)
    if name.endswith("norm.weight"):
        values = 1 + 0.2 * values
    elif name.endswith(".bias"):
        values = 0.5 * values
    elif name != "model.embed_tokens.weight":
        residual = 0.7 / np.sqrt(layers) if ("o_proj" in name or "down_proj" in name) else 1.5
        values = values * residual / np.sqrt(shape[-1])
    return values.astype(np.float16)


def golden(name: str, config: dict[str, Any], tokens: np.ndarray, rows: list[int]) -> dict[str, np.ndarray]:
    """One file's content."""
    rng = np.random.default_rng([ord(c) for c in name])
    with TrueFloat64():
        torch.set_default_dtype(torch.float64)
        model = Qwen3ForCausalLM(Qwen3Config(**config, attn_implementation="eager", use_cache=False)).eval()
        names, weights = gguf_names(config["num_hidden_layers"]), {}
        with torch.no_grad():
            for parameter, tensor in model.named_parameters():
                if parameter.endswith("o_proj.bias"):  # attention_bias adds one there too, which Qwen3 files never have
                    tensor.zero_()
                    continue
                values = draw(parameter, tuple(tensor.shape), config["num_hidden_layers"], rng)
                tensor.copy_(torch.from_numpy(values.astype(np.float64)))
                weights[names[parameter]] = values
            logits = model(torch.from_numpy(tokens)[None]).logits[0, rows]
    assert logits.dtype is torch.float64
    return {"config": np.array(json.dumps(config)), "tokens": tokens, "rows": np.array(rows), **weights,
            "logits": logits.numpy()}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    jobs = [(name, BASE | change, 40) for name, change in VARIANTS.items()]
    jobs += [(name, LONG_BASE | change, LONG_TOKENS) for name, change in LONG.items()]
    for name, config, count in jobs:
        tokens = np.random.default_rng(count).integers(0, config["vocab_size"], count)
        rows = LONG_ROWS if count == LONG_TOKENS else list(range(count))
        content = golden(name, config, tokens, rows)
        np.savez_compressed(out / f"{name}.npz", **content)
        size = (out / f"{name}.npz").stat().st_size
        print(f"{name}: {size} bytes, {len(rows)} rows of logits, rms {np.sqrt((content['logits'] ** 2).mean()):.3f}")


if __name__ == "__main__":
    main()
