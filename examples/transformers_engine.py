"""transformers as an engine, for `zeroulp bench command examples/transformers_engine.toml MODEL`. CPU or GPU, float32.

It needs torch, transformers, accelerate and gguf; all but the last are no dependencies of zeroulp.
Called as: transformers_engine.py MODEL TOKENS OUT MODE GENERATED REPEATS; docs/your-engine.md says what these are.
"""

import json
import sys
import time
from pathlib import Path

import gguf
import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def load(file):
    """The dequantised model in float32."""
    where = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    config = AutoConfig.from_pretrained(**where)
    width = gguf.GGUFReader(file).fields.get(f"{config.model_type}.attention.key_length")
    if width is not None:
        config.head_dim = int(width.contents())  # which transformers leaves at its default
    return AutoModelForCausalLM.from_pretrained(**where, config=config, dtype=torch.float32).to(DEVICE).eval()


def run(model, parts):
    """Token lists one after the other through one KV cache; logits of every token, (tokens, vocab)."""
    cache, rows = None, []
    for part in parts:
        ids = torch.tensor([part], device=DEVICE)
        answer = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = answer.past_key_values
        rows.append(answer.logits[0].float().cpu().numpy())
    return np.concatenate(rows)


def timed(model, tokens, generated):
    """Tokens/s of the prompt at once, and of the rest one by one behind it."""
    prompt, speeds, cache = len(tokens) - generated, [], None
    for parts in ([tokens[:prompt]], [[token] for token in tokens[prompt:]]):
        synchronize()
        start = time.perf_counter()
        for part in parts:
            ids = torch.tensor([part], device=DEVICE)
            cache = model(input_ids=ids, past_key_values=cache, use_cache=True).past_key_values
        synchronize()
        speeds.append(sum(map(len, parts)) / (time.perf_counter() - start))
    return speeds


def synchronize():
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def main(path, tokens_file, out, mode, generated, repeats):
    tokens = [int(word) for word in Path(tokens_file).read_text().split()]
    generated, repeats, file = int(generated), int(repeats), Path(path)
    model = load(file)
    with torch.inference_mode():
        parts = [tokens] if mode == "at_once" else [[token] for token in tokens]
        np.save(Path(out) / "logits.npy", run(model, parts))
        if repeats:
            samples = [timed(model, tokens, generated) for _ in range(repeats)]
            prefill, decode = ([sample[i] for sample in samples] for i in (0, 1))
            lines = [
                {"phase": "prefill", "tokens": len(tokens) - generated, "tokens_per_second": prefill},
                {"phase": "decode", "tokens": generated, "tokens_per_second": decode},
            ]
            (Path(out) / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
