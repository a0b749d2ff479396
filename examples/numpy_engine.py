"""An engine of one's own in NumPy, for `zeroulp bench command examples/numpy_engine.toml MODEL`.

It shares no code with zeroulp: the gguf package reads and dequantises the file, and float32 NumPy does the rest.
Called as: numpy_engine.py MODEL TOKENS OUT MODE GENERATED REPEATS. docs/your-engine.md says what each of them is.
"""

import json
import sys
import time
from pathlib import Path

import gguf
import numpy as np


class Engine:
    """A dense Qwen3 with its KV cache."""

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        self.w = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
        key = lambda name: reader.fields[f"qwen3.{name}"].contents()  # noqa: E731
        self.layers, self.heads, self.kv_heads = (
            key(n) for n in ("block_count", "attention.head_count", "attention.head_count_kv")
        )
        self.head_dim, self.eps = key("attention.key_length"), key("attention.layer_norm_rms_epsilon")
        self.frequency = float(key("rope.freq_base")) ** (-2.0 * np.arange(self.head_dim // 2) / self.head_dim)
        self.cache = [None] * self.layers

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + np.float32(self.eps)) * self.w[name]

    def rope(self, x, position):
        angle = (np.arange(position, position + len(x))[:, None] * self.frequency)[:, None]
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        a, b = np.split(x, 2, axis=-1)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)

    def attention(self, i, x):
        heads = [(x @ self.w[f"blk.{i}.attn_{n}.weight"].T).reshape(len(x), -1, self.head_dim) for n in "qkv"]
        before = self.cache[i]
        position = 0 if before is None else len(before[0])
        q = self.rope(self.norm(heads[0], f"blk.{i}.attn_q_norm.weight"), position)
        k = self.rope(self.norm(heads[1], f"blk.{i}.attn_k_norm.weight"), position)
        new = (k, heads[2]) if before is None else (np.r_[before[0], k], np.r_[before[1], heads[2]])
        self.cache[i] = new
        k, v = (np.repeat(part, self.heads // self.kv_heads, axis=1) for part in new)
        scores = np.einsum("rhd,khd->hrk", q, k) / np.float32(np.sqrt(self.head_dim))
        scores[:, np.arange(len(k)) > position + np.arange(len(x))[:, None]] = -np.inf
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out = np.einsum("hrk,khd->rhd", p / p.sum(axis=-1, keepdims=True), v)
        return out.reshape(len(x), -1) @ self.w[f"blk.{i}.attn_output.weight"].T

    def __call__(self, tokens):
        """Appends tokens; logits of each, (tokens, vocab)."""
        x = self.w["token_embd.weight"][tokens]
        for i in range(self.layers):
            x = x + self.attention(i, self.norm(x, f"blk.{i}.attn_norm.weight"))
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate, up = h @ self.w[f"blk.{i}.ffn_gate.weight"].T, h @ self.w[f"blk.{i}.ffn_up.weight"].T
            x = x + (gate / (1 + np.exp(-gate)) * up) @ self.w[f"blk.{i}.ffn_down.weight"].T
        head = self.w.get("output.weight", self.w["token_embd.weight"])
        return self.norm(x, "output_norm.weight") @ head.T


def timed(engine, tokens, generated):
    """Tokens/s of the prompt at once, and of the rest one by one."""
    engine.cache, prompt, speeds = [None] * engine.layers, len(tokens) - generated, []
    for parts in ([tokens[:prompt]], [tokens[i : i + 1] for i in range(prompt, len(tokens))]):
        start = time.perf_counter()
        for part in parts:
            engine(part)
        speeds.append(sum(map(len, parts)) / (time.perf_counter() - start))
    return speeds


def main(model, tokens_file, out, mode, generated, repeats):
    tokens = np.array(Path(tokens_file).read_text().split(), np.int64)
    generated, repeats, engine = int(generated), int(repeats), Engine(model)
    parts = [tokens] if mode == "at_once" else np.split(tokens, len(tokens))
    np.save(Path(out) / "logits.npy", np.concatenate([engine(part) for part in parts]))
    if repeats:
        samples = np.array([timed(engine, tokens, generated) for _ in range(repeats)]).T.tolist()
        counts = {"prefill": len(tokens) - generated, "decode": generated}
        lines = [
            {"phase": phase, "tokens": count, "tokens_per_second": speeds}
            for (phase, count), speeds in zip(counts.items(), samples, strict=True)
        ]
        (Path(out) / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main(*sys.argv[1:])
