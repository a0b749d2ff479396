"""Qwen3 (dense): the step of the engine. The oracle's page is reference/families/qwen3.py, with the same taps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.arena import Arena, require_free
from engine.device import Buffer, Device, Stream
from engine.ops._few import ROWS as FEW_ROWS
from engine.ops.activations import Activations, activations, normed_activations
from engine.ops.add import add
from engine.ops.attention import Scratch, attention, attention_scratch
from engine.ops.embedding import embedding
from engine.ops.kv_append import kv_append
from engine.ops.matmul import MatmulPath, matmul
from engine.ops.qk_norm import qk_norm
from engine.ops.quantize import Quantized, padded
from engine.ops.rms_norm import rms_norm
from engine.ops.rope import rope
from engine.ops.swiglu import swiglu
from engine.weights import Weight, repacked_bytes, room_for, write_tiles
from reference.spec.model import Model, Tensor
from reference.spec.qwen3 import Qwen3
from reference.spec.rope_table import rope_table

Tap = Callable[[str, int, Buffer], None]


def no_tap(name: str, layer: int, value: Buffer) -> None:
    """The tap that looks at nothing."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """The weights of one block; biases are None where the file has none."""

    attn_norm: Buffer  # (dim,)
    attn_q: Weight  # (heads * head_dim, dim)
    attn_k: Weight  # (kv_heads * head_dim, dim)
    attn_v: Weight
    attn_q_bias: Buffer | None
    attn_k_bias: Buffer | None
    attn_v_bias: Buffer | None
    attn_q_norm: Buffer  # (head_dim,)
    attn_k_norm: Buffer
    attn_output: Weight  # (dim, heads * head_dim)
    ffn_norm: Buffer
    ffn_gate: Weight  # (ff, dim)
    ffn_up: Weight
    ffn_down: Weight  # (dim, ff)


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A model on a device. Several sessions may share it."""

    device: Device
    model: Model
    token_embd: Weight  # (vocab, dim)
    layers: tuple[Layer, ...]
    output_norm: Buffer
    output: Weight  # the same object as token_embd in a tied model
    memory_bytes: int  # growth of the device's used bytes

    @property
    def spec(self) -> Qwen3:
        return self.model.spec

    def close(self) -> None:
        for buffer in self._buffers():
            self.device.free(buffer)

    def _buffers(self) -> list[Buffer]:
        found: dict[int, Buffer] = {}
        for owner in (self, *self.layers):
            for value in vars(owner).values():
                buffer = value.buffer if isinstance(value, Weight) else value
                if hasattr(buffer, "ptr"):
                    found[buffer.ptr] = buffer
        return list(found.values())


def load(device: Device, model: Model) -> Weights:
    """Upload every tensor, matrices as tiles. Raises OutOfMemory before the first one if they do not fit."""
    tensors = model.file.tensors.values()
    require_free(device, sum(repacked_bytes(info, device.alignment) for info in tensors), "weights")
    before = device.used_bytes()
    matrices: list[tuple[Weight, Tensor]] = []

    def weight(name: str) -> Weight:
        tensor = model.tensor(name)
        matrices.append((room_for(device, tensor, name), tensor))
        return matrices[-1][0]

    def vector(name: str) -> Buffer:
        return device.upload(model.tensor(name).float32(), name)

    def bias(name: str) -> Buffer | None:
        return vector(name) if name in model.file.tensors else None

    def layer(i: int) -> Layer:
        return Layer(
            attn_norm=vector(f"blk.{i}.attn_norm.weight"),
            attn_q=weight(f"blk.{i}.attn_q.weight"),
            attn_k=weight(f"blk.{i}.attn_k.weight"),
            attn_v=weight(f"blk.{i}.attn_v.weight"),
            attn_q_bias=bias(f"blk.{i}.attn_q.bias"),
            attn_k_bias=bias(f"blk.{i}.attn_k.bias"),
            attn_v_bias=bias(f"blk.{i}.attn_v.bias"),
            attn_q_norm=vector(f"blk.{i}.attn_q_norm.weight"),
            attn_k_norm=vector(f"blk.{i}.attn_k_norm.weight"),
            attn_output=weight(f"blk.{i}.attn_output.weight"),
            ffn_norm=vector(f"blk.{i}.ffn_norm.weight"),
            ffn_gate=weight(f"blk.{i}.ffn_gate.weight"),
            ffn_up=weight(f"blk.{i}.ffn_up.weight"),
            ffn_down=weight(f"blk.{i}.ffn_down.weight"),
        )

    token_embd = weight("token_embd.weight")
    weights = Weights(
        device=device,
        model=model,
        token_embd=token_embd,
        layers=tuple(layer(i) for i in range(model.spec.layers)),
        output_norm=vector("output_norm.weight"),
        output=token_embd if model.spec.tied else weight("output.weight"),
        memory_bytes=device.used_bytes() - before,
    )
    write_tiles(device, matrices)
    return weights


@dataclass(frozen=True, kw_only=True)
class Buffers:
    """What a step reads and writes, at its largest size. Addresses never change."""

    tokens: Buffer  # (max_batch,) int32: the tokens of this step
    position: Buffer  # (1,) int32: the position of row 0
    cos: Buffer  # (context, n_rot / 2)
    sin: Buffer
    keys: tuple[Buffer, ...]  # per layer (kv_heads, context, head_dim)
    values: tuple[Buffer, ...]
    x: Buffer  # (max_batch, dim): the residual stream
    normed: Buffer  # (max_batch, dim)
    q: Buffer  # (max_batch, heads * head_dim)
    k: Buffer  # (max_batch, kv_heads * head_dim)
    v: Buffer
    attended: Buffer  # (max_batch, heads * head_dim)
    projected: Buffer  # (max_batch, dim): what attn_output and ffn_down give
    gate: Buffer  # (max_batch, ff)
    up: Buffer
    logits: Buffer  # (logit_rows, vocab)
    quantized: Quantized  # room for the widest input of a matmul
    normed_rows: Quantized  # (a few, dim padded): 8-bit rows behind a norm, made or read while `quantized` is
    squares: Buffer  # (dim / 32,): sums of squares of the blocks of a row whose norm lacks its factor
    scratch: Scratch  # partial results of attention splits
    arrivals: Buffer  # (heads,) int32: splits that are done, counted within a launch; zero between launches

    @property
    def max_batch(self) -> int:
        return self.tokens.shape[0]

    @property
    def logit_rows(self) -> int:
        return self.logits.shape[0]


def plan(arena: Arena, spec: Qwen3, *, context: int, max_batch: int, logit_rows: int, kv: str) -> None:
    """Name every buffer of a step at its largest size."""
    q_dim, kv_dim = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    widest = padded(max(spec.dim, spec.ff, q_dim))
    arena.plan("tokens", (max_batch,), np.int32)
    arena.plan("position", (1,), np.int32)
    for table in ("cos", "sin"):
        arena.plan(table, (context, spec.rope.n_rot // 2), np.float32)
    for layer in range(spec.layers):
        for cache in ("keys", "values"):
            shape = (spec.kv_heads, context, spec.head_dim)
            arena.plan(f"{cache}.{layer}", shape, np.float32 if kv == "f32" else np.float16)
    for name, width in (
        ("x", spec.dim), ("normed", spec.dim), ("q", q_dim), ("k", kv_dim), ("v", kv_dim), ("attended", q_dim),
        ("projected", spec.dim), ("gate", spec.ff), ("up", spec.ff),
    ):  # fmt: skip
        arena.plan(name, (max_batch, width), np.float32)
    arena.plan("logits", (logit_rows, spec.vocab), np.float32)
    arena.plan("codes", (max_batch, widest), np.int8)
    arena.plan("scales", (max_batch, widest // 32), np.float32)
    arena.plan("sums", (max_batch, widest // 32), np.float32)
    dim, few = padded(spec.dim), min(max_batch, FEW_ROWS)
    arena.plan("normed_codes", (few, dim), np.int8)
    arena.plan("normed_scales", (few, dim // 32), np.float32)
    arena.plan("normed_sums", (few, dim // 32), np.float32)
    arena.plan("squares", (spec.dim // 32,), np.float32)
    arena.plan("arrivals", (spec.heads,), np.int32)
    for name, partials in attention_scratch(max_batch, spec.heads, spec.head_dim, context).items():
        arena.plan(name, partials, np.float32)


def buffers(arena: Arena, spec: Qwen3) -> Buffers:
    """The allocated buffers under their names, with the RoPE tables filled in and the counters at zero."""
    named = (
        "tokens",
        "position",
        "cos",
        "sin",
        "x",
        "normed",
        "q",
        "k",
        "v",
        "attended",
        "projected",
        "gate",
        "up",
        "logits",
        "squares",
        "arrivals",
    )
    found = Buffers(
        **{name: arena[name] for name in named},
        keys=tuple(arena[f"keys.{layer}"] for layer in range(spec.layers)),
        values=tuple(arena[f"values.{layer}"] for layer in range(spec.layers)),
        quantized=Quantized(codes=arena["codes"], scales=arena["scales"], sums=arena["sums"]),
        normed_rows=Quantized(codes=arena["normed_codes"], scales=arena["normed_scales"], sums=arena["normed_sums"]),
        scratch=Scratch.from_arena(arena),
    )
    cos, sin = rope_table(spec.rope, found.cos.shape[0])
    found.cos.write(cos)
    found.sin.write(sin)
    found.arrivals.fill(0)
    return found


def prefix(stream: Stream, w: Weights, b: Buffers, rows: int, *, tap: Tap = no_tap) -> None:
    """What stands before the captured region: the embedding of this step's tokens."""
    x = b.x.rows(0, rows)
    embedding(stream, b.tokens.rows(0, rows), w.token_embd, out=x)
    tap("embedding", -1, x)


def region(stream: Stream, w: Weights, b: Buffers, rows: int, *, path: MatmulPath, tap: Tap = no_tap) -> None:
    """All layers for `rows` rows at positions `b.position` onward: b.x in, b.x out, keys and values appended."""
    spec = w.spec
    heads = (rows, spec.heads, spec.head_dim)
    kv_heads = (rows, spec.kv_heads, spec.head_dim)
    scale = np.float32(1.0 / np.sqrt(np.float64(spec.head_dim)))
    x, h, projected = b.x.rows(0, rows), b.normed.rows(0, rows), b.projected.rows(0, rows)
    q, k, v = b.q.rows(0, rows), b.k.rows(0, rows), b.v.rows(0, rows)
    attended, gate, up = b.attended.rows(0, rows), b.gate.rows(0, rows), b.up.rows(0, rows)

    def prepare(values: Buffer, *consumers: Weight) -> Activations:
        return activations(stream, values, consumers, scratch=b.quantized)

    def prepare_normed(weight: Buffer, *consumers: Weight) -> Activations:
        return normed_activations(stream, x, weight, h, consumers, eps=spec.eps, scratch=b.quantized)

    for i, layer in enumerate(w.layers):
        rms_norm(stream, x, layer.attn_norm, eps=spec.eps, out=h)
        tap("attn_norm", i, h)

        a = prepare_normed(layer.attn_norm, layer.attn_q, layer.attn_k, layer.attn_v)
        for name, weight, bias, out in (
            ("q", layer.attn_q, layer.attn_q_bias, q),
            ("k", layer.attn_k, layer.attn_k_bias, k),
            ("v", layer.attn_v, layer.attn_v_bias, v),
        ):
            matmul(stream, a.of(weight), weight, path=path, out=out)
            if bias is not None:
                add(stream, out, bias, out=out)
            tap(name, i, out)

        qk_norm(stream, q.reshape(*heads), layer.attn_q_norm, eps=spec.eps, out=q.reshape(*heads))
        tap("q_norm", i, q)
        qk_norm(stream, k.reshape(*kv_heads), layer.attn_k_norm, eps=spec.eps, out=k.reshape(*kv_heads))
        tap("k_norm", i, k)
        rope(stream, q.reshape(*heads), b.cos, b.sin, b.position)
        tap("q_rope", i, q)
        rope(stream, k.reshape(*kv_heads), b.cos, b.sin, b.position)
        tap("k_rope", i, k)

        kv_append(stream, k.reshape(*kv_heads), v.reshape(*kv_heads), b.position, keys=b.keys[i], values=b.values[i])
        attention(
            stream, q.reshape(*heads), b.keys[i], b.values[i], b.position, scale=scale, scratch=b.scratch, out=attended
        )
        tap("attention", i, attended)

        a = prepare(attended, layer.attn_output)
        matmul(stream, a.of(layer.attn_output), layer.attn_output, path=path, out=projected)
        tap("attn_output", i, projected)
        add(stream, x, projected, out=x)
        tap("attn_residual", i, x)

        rms_norm(stream, x, layer.ffn_norm, eps=spec.eps, out=h)
        tap("ffn_norm", i, h)
        a = prepare_normed(layer.ffn_norm, layer.ffn_gate, layer.ffn_up)
        matmul(stream, a.of(layer.ffn_gate), layer.ffn_gate, path=path, out=gate)
        tap("gate", i, gate)
        matmul(stream, a.of(layer.ffn_up), layer.ffn_up, path=path, out=up)
        tap("up", i, up)
        swiglu(stream, gate, up, out=gate)
        tap("swiglu", i, gate)
        a = prepare(gate, layer.ffn_down)
        matmul(stream, a.of(layer.ffn_down), layer.ffn_down, path=path, out=projected)
        tap("down", i, projected)
        add(stream, x, projected, out=x)
        tap("ffn_residual", i, x)


def head(stream: Stream, w: Weights, b: Buffers, first: int, rows: int, *, path: MatmulPath, tap: Tap = no_tap) -> None:
    """Logits of the rows first .. first + rows - 1 of b.x, into the first rows of b.logits."""
    x, h, logits = b.x.rows(first, first + rows), b.normed.rows(first, first + rows), b.logits.rows(0, rows)
    rms_norm(stream, x, w.output_norm, eps=w.spec.eps, out=h)
    tap("output_norm", -1, h)
    a = normed_activations(stream, x, w.output_norm, h, (w.output,), eps=w.spec.eps, scratch=b.quantized)
    matmul(stream, a.of(w.output), w.output, path=path, out=logits)
    tap("logits", -1, logits)
