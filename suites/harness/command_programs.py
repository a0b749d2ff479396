"""Programs that stand for engines which are not ours, and how a test calls them."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import Any

from harness.command_engine import Answer, ask, read_engine
from harness.schema import Row
from harness.store import read_run

TOKENS = [5, 9, 2, 77, 1, 300]
VOCAB = 512

# `right` holds logits by token list; what a program does with them follows.
PROGRAM = """
import os, sys, time, signal, json
from pathlib import Path
import numpy as np
model, tokens, out, mode, generated, repeats = sys.argv[1:]
ids = [int(word) for word in Path(tokens).read_text().split()]
right = np.random.default_rng(ids).standard_normal((len(ids), 512)).astype(np.float32)
place = Path(out) / "logits.npy"
"""

# Stand-ins for torch and transformers, which are not installed here: a logit depends on all tokens so far. They show
# that the example keeps the contract, not that transformers computes right.
TORCH = """
from contextlib import nullcontext as inference_mode
import numpy as np
float32 = np.float32
class cuda:
    is_available = staticmethod(lambda: False)
class Tensor(np.ndarray):
    float = cpu = lambda self: self
    numpy = lambda self: np.asarray(self)
def tensor(values, device):
    return np.array(values)
"""
TRANSFORMERS = """
from types import SimpleNamespace
import numpy as np
import torch
class AutoConfig:
    @staticmethod
    def from_pretrained(pretrained_model_name_or_path, gguf_file):
        return SimpleNamespace(model_type="qwen3", head_dim=128)
class Model:
    def __init__(self, config):
        assert config.head_dim == 64
    def to(self, device):
        return self
    eval = lambda self: self
    def __call__(self, input_ids, past_key_values, use_cache):
        before = past_key_values or []
        seen = [*before, *input_ids[0].tolist()]
        rows = [np.full(512, sum(seen[: i + 1]), np.float32) for i in range(len(before), len(seen))]
        return SimpleNamespace(past_key_values=seen, logits=np.array([rows]).view(torch.Tensor))
class AutoModelForCausalLM:
    @staticmethod
    def from_pretrained(config, dtype, **where):
        return Model(config)
"""


def make_engine(folder: Path, body: str, **fields: Any) -> Path:
    """An engine.toml over a program of a few lines."""
    (folder / "program.py").write_text(PROGRAM + textwrap.dedent(body))
    words = ("{python}", "program.py", "{model}", "{tokens}", "{out}", "{mode}", "{generated}", "{repeats}")
    spec = {"name": "mine", "command": words, "provides": ["logits"], "timeout_s": 30.0, **fields}
    path = folder / "engine.toml"
    path.write_text("".join(f"{name} = {toml(value)}\n" for name, value in spec.items()))
    return path


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {toml(item)}" for name, item in value.items()) + "}"
    return str(value) if isinstance(value, float) else json.dumps(value)


def asked(path: Path, tiny: str, **options: Any) -> Answer:
    return ask(read_engine(str(path), os.environ), Path(tiny), TOKENS, VOCAB, **options)


def rows_of(folder: Path) -> tuple[Row, ...]:
    (run,) = folder.iterdir()
    return read_run(run).rows
