"""The models that can be made: tiny ones for tests, and the published Qwen3 shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from reference.spec.qwen3 import Qwen3
from reference.spec.rope_table import Rope


@dataclass(frozen=True, kw_only=True)
class SynthShape:
    """A dense Qwen3 to be made; the defaults are qwen3-tiny."""

    layers: int = 3
    dim: int = 256
    ff: int = 512
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    vocab: int = 512
    context: int = 8192
    tied: bool = False
    biases: bool = False
    eps: float = 1e-6
    theta: float = 1e6
    scaling: Literal["none", "linear", "yarn"] = "none"
    factor: float = 1.0
    original_context: int | None = None  # None: not written, so that it is the context
    random_blocks: bool = False  # random stored blocks, fast and of any size, instead of encoded values
    texts: bool = False  # a text for each token and as many merges, as a reader of a published file has to get past

    def spec(self) -> Qwen3:
        """As a reader of the file sees it, but for float32 rounding of eps, theta and factor."""
        rope = Rope(
            theta=self.theta,
            n_rot=self.head_dim,
            scaling=self.scaling,
            factor=self.factor,
            original_context=self.original_context or self.context,
        )
        return Qwen3(
            layers=self.layers,
            dim=self.dim,
            ff=self.ff,
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            vocab=self.vocab,
            context_train=self.context,
            eps=self.eps,
            rope=rope,
            tied=self.tied,
            biases=self.biases,
        )


def _published(*, layers: int, dim: int, ff: int, heads: int, tied: bool = False) -> SynthShape:
    """From the config.json of the published models: what differs between them."""
    return SynthShape(
        layers=layers,
        dim=dim,
        ff=ff,
        heads=heads,
        kv_heads=8,
        head_dim=128,
        vocab=151936,
        context=40960,
        tied=tied,
        random_blocks=True,
        texts=True,
    )


TINY = SynthShape()
"""qwen3-tiny; suites make variants of it with dataclasses.replace."""

SHAPES: Mapping[str, SynthShape] = MappingProxyType(
    {
        "qwen3-tiny": TINY,
        # Rows of 96, 704 and 2112 weights: none a multiple of 128, so that every reduction has a short last chunk.
        "qwen3-odd": SynthShape(layers=2, dim=96, ff=2112, heads=22, kv_heads=2, head_dim=32, vocab=320),
        "qwen3-0.6b": _published(layers=28, dim=1024, ff=3072, heads=16, tied=True),
        "qwen3-1.7b": _published(layers=28, dim=2048, ff=6144, heads=16, tied=True),
        "qwen3-4b": _published(layers=36, dim=2560, ff=9728, heads=32, tied=True),
        "qwen3-8b": _published(layers=36, dim=4096, ff=12288, heads=32),
        "qwen3-14b": _published(layers=40, dim=5120, ff=17408, heads=40),
        "qwen3-32b": _published(layers=64, dim=5120, ff=25600, heads=64),
    }
)
