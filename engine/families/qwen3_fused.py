"""Qwen3 (dense), a pass in as few kernels as there are: the bits of families/qwen3.py, without taps.

Where a kernel does not take the types or the widths of a layer, its operations stand here one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.device import Buffer, Stream
from engine.families.qwen3 import Buffers, Layer, Weights
from engine.ops._few import ROWS as FEW_ROWS
from engine.ops.activations import Activations, activations, normed_activations
from engine.ops.add import add
from engine.ops.attention import attention, quantizes
from engine.ops.attention_step import NewHeads, attention_step, takes_heads
from engine.ops.heads_append import heads_append
from engine.ops.heads_append import takes_heads as takes_new_heads
from engine.ops.kv_append import kv_append
from engine.ops.matmul import MatmulPath, matmul
from engine.ops.matmul_group import Product, groupable, matmul_group
from engine.ops.matmul_residual import matmul_residual
from engine.ops.matmul_residual import takes as takes_residual
from engine.ops.matmul_swiglu import matmul_swiglu, takes
from engine.ops.qk_norm import qk_norm
from engine.ops.quantize import Norm, padded
from engine.ops.rms_norm import rms_norm
from engine.ops.rope import rope
from engine.ops.swiglu import swiglu
from engine.ops.swiglu_quantize import swiglu_quantize
from engine.weights import Weight


def region(stream: Stream, w: Weights, b: Buffers, rows: int) -> Activations | None:
    """All layers for `rows` rows at positions `b.position` onward: b.x in, b.x out, keys and values appended.

    Of one row the last layer leaves what `head` multiplies, too; of several the head may want fewer: None.
    """
    x, q, k, v = (buffer.rows(0, rows) for buffer in (b.x, b.q, b.k, b.v))
    spec = w.spec
    a = _normed(stream, b, x, _attention_norm(w.layers[0]), eps=spec.eps)
    for i, layer in enumerate(w.layers):
        projections = (
            Product(weight=layer.attn_q, out=q, added=layer.attn_q_bias),
            Product(weight=layer.attn_k, out=k, added=layer.attn_k_bias),
            Product(weight=layer.attn_v, out=v, added=layer.attn_v_bias),
        )
        _products(stream, b, a, projections)
        new = NewHeads(
            q=q.reshape(rows, spec.heads, spec.head_dim),
            k=k.reshape(rows, spec.kv_heads, spec.head_dim),
            v=v.reshape(rows, spec.kv_heads, spec.head_dim),
            q_weight=layer.attn_q_norm,
            k_weight=layer.attn_k_norm,
        )
        a = _attended(stream, b, new, i, layer.attn_output, eps=spec.eps)
        feed_forward = NextNorm(weight=layer.ffn_norm, consumers=(layer.ffn_gate, layer.ffn_up))
        a = _residual(stream, b, a, layer.attn_output, x, feed_forward, eps=spec.eps, ahead=True)
        a = _gated(stream, b, a, layer, rows)
        if i + 1 < len(w.layers):
            a = _residual(stream, b, a, layer.ffn_down, x, _attention_norm(w.layers[i + 1]), eps=spec.eps)
        elif rows == 1:
            return _residual(stream, b, a, layer.ffn_down, x, _head_norm(w), eps=spec.eps)
        else:
            _products(stream, b, a, (Product(weight=layer.ffn_down, out=x, added=x),))
    return None


def head(stream: Stream, w: Weights, b: Buffers, first: int, rows: int, *, normed: Activations | None = None) -> None:
    """Logits of the rows first .. first + rows - 1 of b.x, into the first rows of b.logits. normed: from region."""
    a = normed or _normed(stream, b, b.x.rows(first, first + rows), _head_norm(w), eps=w.spec.eps)
    _products(stream, b, a, (Product(weight=w.output, out=b.logits.rows(0, rows)),))


@dataclass(frozen=True, kw_only=True)
class NextNorm:
    """A norm of the residual stream and the weights that multiply what it gives."""

    weight: Buffer
    consumers: tuple[Weight, ...]

    @property
    def quantized(self) -> bool:
        return all(consumer.quantized for consumer in self.consumers)


def _attention_norm(layer: Layer) -> NextNorm:
    return NextNorm(weight=layer.attn_norm, consumers=(layer.attn_q, layer.attn_k, layer.attn_v))


def _head_norm(w: Weights) -> NextNorm:
    return NextNorm(weight=w.output_norm, consumers=(w.output,))


def _residual(
    stream: Stream, b: Buffers, a: Activations, weight: Weight, x: Buffer, norm: NextNorm, *, eps: float,
    ahead: bool = False,
) -> Activations:  # fmt: skip
    """x += a by weight, and the next norm of x."""
    rows, dim = x.shape
    if rows == 1 and a.quantized is not None and takes_residual(stream, weight) and norm.quantized:
        out = replace(b.normed_rows.view(1, padded(dim)), norm=Norm(squares=b.squares, eps=eps))
        matmul_residual(stream, a.quantized, weight, norm.weight, x=x, out=out, ahead=ahead)
        return Activations(values=b.normed.rows(0, 1), quantized=out)
    _products(stream, b, a, (Product(weight=weight, out=x, added=x),), ahead=ahead)
    return _normed(stream, b, x, norm, eps=eps)


def _normed(stream: Stream, b: Buffers, x: Buffer, norm: NextNorm, *, eps: float) -> Activations:
    rows, _ = x.shape
    h = b.normed.rows(0, rows)
    if not norm.quantized:
        rms_norm(stream, x, norm.weight, eps=eps, out=h)
    room = b.normed_rows if norm.quantized and rows <= FEW_ROWS else b.quantized
    return normed_activations(stream, x, norm.weight, h, norm.consumers, eps=eps, scratch=room)


def _products(stream: Stream, b: Buffers, a: Activations, products: Sequence[Product], *, ahead: bool = False) -> None:
    """In one launch if there is a kernel for it, else in several, else by single ones. ahead: see matmul_group."""
    rows = products[0].out.shape[0]
    if a.quantized is not None and groupable([product.weight for product in products], rows):
        matmul_group(stream, a.quantized, products, ahead=ahead)
    elif len(products) > 1:
        _products(stream, b, a, products[:-1])  # the last is the one that may be of another type
        _products(stream, b, a, products[-1:])
    else:
        (product,) = products
        path: MatmulPath = "matvec" if rows == 1 else "auto"
        if product.added is product.out:  # the residual
            projected = b.projected.rows(0, rows)
            matmul(stream, a.of(product.weight), product.weight, path=path, out=projected)
            add(stream, product.out, projected, out=product.out)
        else:
            matmul(stream, a.of(product.weight), product.weight, path=path, out=product.out)
            if product.added is not None:
                add(stream, product.out, product.added, out=product.out)


def _attended(stream: Stream, b: Buffers, new: NewHeads, i: int, consumer: Weight, *, eps: float) -> Activations:
    rows, _, head_dim = new.q.shape
    scale = np.float32(1.0 / np.sqrt(np.float64(head_dim)))
    attended = b.attended.rows(0, rows)
    quantized = None
    if consumer.quantized and quantizes(rows, head_dim):
        quantized = b.quantized.view(rows, padded(attended.shape[1]))
    if rows == 1 and takes_heads(head_dim):
        attention_step(
            stream, new, b.cos, b.sin, b.position, eps=eps, scale=scale, keys=b.keys[i], values=b.values[i],
            scratch=b.scratch, arrivals=b.arrivals, out=quantized or attended,
        )  # fmt: skip
        return Activations(values=attended, quantized=quantized)
    _append(stream, b, new, i, eps=eps)
    attention(
        stream, new.q, b.keys[i], b.values[i], b.position, scale=scale, scratch=b.scratch, out=quantized or attended
    )
    if quantized is not None:
        return Activations(values=attended, quantized=quantized)
    return activations(stream, attended, (consumer,), scratch=b.quantized)


def _append(stream: Stream, b: Buffers, new: NewHeads, i: int, *, eps: float) -> None:
    """Queries and keys normed and turned, keys and values in the cache."""
    if takes_new_heads(new.q.shape[2]):
        heads_append(
            stream, new.q, new.k, new.v, b.cos, b.sin, b.position, q_weight=new.q_weight, k_weight=new.k_weight,
            eps=eps, keys=b.keys[i], values=b.values[i],
        )  # fmt: skip
        return
    for heads, weight in ((new.q, new.q_weight), (new.k, new.k_weight)):
        qk_norm(stream, heads, weight, eps=eps, out=heads)
        rope(stream, heads, b.cos, b.sin, b.position)
    kv_append(stream, new.k, new.v, b.position, keys=b.keys[i], values=b.values[i])


def _gated(stream: Stream, b: Buffers, a: Activations, layer: Layer, rows: int) -> Activations:
    gate, up = b.gate.rows(0, rows), b.up.rows(0, rows)
    width, quantized = padded(gate.shape[1]), layer.ffn_down.quantized
    if rows <= FEW_ROWS and a.quantized is not None and quantized and takes(layer.ffn_gate, layer.ffn_up):
        out = b.quantized.view(rows, width)
        matmul_swiglu(stream, a.quantized, layer.ffn_gate, layer.ffn_up, out=out)
        return Activations(values=gate, quantized=out)
    _products(stream, b, a, (Product(weight=layer.ffn_gate, out=gate), Product(weight=layer.ffn_up, out=up)))
    if quantized:
        out = b.quantized.view(rows, width)
        swiglu_quantize(stream, gate, up, out=out)
        return Activations(values=gate, quantized=out)
    swiglu(stream, gate, up, out=gate)
    return Activations(values=gate, quantized=None)
