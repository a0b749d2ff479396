"""Golden files (scripts/make_goldens.py) as models of this project, and what they say of a form."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

from reference.families import qwen3
from reference.floats import Array
from reference.forms import Form
from reference.spec.model import Model, open_model

FOLDER = Path(__file__).parent.parent / "goldens"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("*.npz")))

_KEYS = ("config", "tokens", "rows", "logits")
_SCALINGS = {"default": "none", "linear": "linear", "yarn": "yarn"}


@dataclass(frozen=True, kw_only=True)
class Golden:
    """A model, what it was asked, and what transformers answered in float64."""

    name: str
    model: Model
    tokens: NDArray[np.int64]
    rows: NDArray[np.int64]  # the positions whose logits are kept
    logits: NDArray[np.float64]  # (len(rows), vocab)

    def error(self, form: Form, pieces: Sequence[int] = ()) -> float:
        """Largest difference of the kept logits (NaN if one is); tokens go in `pieces`, the rest in one call."""
        cache = qwen3.new_cache(self.model, len(self.tokens), form=form)
        cuts = [0, *np.cumsum(pieces, dtype=int).tolist(), len(self.tokens)]
        calls: list[Array] = [
            qwen3.forward(self.model, self.tokens[start:stop], cache, form=form)
            for start, stop in itertools.pairwise(cuts)
            if start < stop
        ]
        return float(np.abs(np.concatenate(calls)[self.rows] - self.logits).max())


def load(name: str, folder: Path) -> Golden:
    """The golden of this name; its model is written to `folder` as an F32 file."""
    with np.load(FOLDER / f"{name}.npz") as content:
        arrays = {key: content[key] for key in content.files}
    path = folder / f"{name}.gguf"
    weights = {key: array.astype(np.float32) for key, array in arrays.items() if key not in _KEYS}
    write_f32(path, json.loads(str(arrays["config"])), weights)
    return Golden(
        name=name,
        model=open_model(path),
        tokens=arrays["tokens"],
        rows=arrays["rows"],
        logits=arrays["logits"],
    )


def write_f32(path: Path, config: Mapping[str, Any], weights: Mapping[str, NDArray[np.float32]]) -> None:
    """A GGUF file of float32 tensors with the configuration of a Qwen3Config."""
    writer = gguf.GGUFWriter(path, "qwen3")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    rope = config["rope_parameters"]
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_string("qwen3.rope.scaling.type", _SCALINGS[rope["rope_type"]])
    if "factor" in rope:
        writer.add_rope_scaling_factor(rope["factor"])
    if "original_max_position_embeddings" in rope:
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    for name, values in weights.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
