"""Causal attention of grouped query heads (NUMERICS 10).

Shapes    q (rows, heads, head_dim), keys and values (kv_heads, context, head_dim) -> the shape of q;
          row r sees the keys 0 .. position + r, head h reads key head h / (heads / kv_heads)
Rounding  every step of score, sum and output; scale, difference and exp of a score; combination of splits; quotient
Order     splits of 256 keys by absolute position, ascending; in a split head_dim, then keys, ascending
Edges     keys past position + r are not read, whatever they hold; a NaN in q or in a visible key or value reaches the
          outputs that read it; a score of +infinity, or none above -infinity, gives NaN
"""

from __future__ import annotations

import numpy as np

from reference.floats import F32, F64, Array, exp32, fma32, single

SPLIT = 256


@np.errstate(all="ignore")
def exact(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> F32:
    """float32 over a float32 or float16 cache, in the order of NUMERICS 10."""
    _check(q, keys, position)
    rows, heads, head_dim = q.shape
    group = heads // keys.shape[0]
    grouped = single(q).reshape(rows, keys.shape[0], group, head_dim)
    parts = []
    for first in range(0, position + rows, SPLIT):
        seen = slice(first, min(first + SPLIT, position + rows))
        skip = max(0, first - position)  # the rows before it see nothing of this split
        k, v = keys[:, seen].astype(np.float32), values[:, seen].astype(np.float32)
        parts.append((skip, _split(grouped[skip:], k, v, position + skip - first, np.float32(scale))))
    (_, (m, total, o)), *others = parts
    for skip, part in others:
        m[skip:], total[skip:], o[skip:] = _combine(m[skip:], total[skip:], o[skip:], *part)
    return (o / total[..., None]).reshape(q.shape)


def _split(q: F32, k: F32, v: F32, last: int, scale: np.float32) -> tuple[F32, F32, F32]:
    """Maximum, sum and output of one split, (rows, kv_heads, group[, head_dim]); row r sees its keys 0 .. last + r."""
    rows, kv_heads, group, head_dim = q.shape
    count = k.shape[1]
    s = np.zeros((rows, kv_heads, group, count), np.float32)
    for d in range(head_dim):
        s = fma32(q[..., d, None], k[:, None, :, d], s)
    s = s * scale
    visible = np.arange(count) <= last + np.arange(rows)[:, None]  # (rows, keys)
    m = np.where(visible[:, None, None, :], s, np.float32(-np.inf)).max(axis=-1)
    p = exp32(s - m[..., None])
    total = np.zeros((rows, kv_heads, group), np.float32)
    o = np.zeros(q.shape, np.float32)
    for j in range(count):
        see = slice(max(0, j - last), None)
        total[see] = total[see] + p[see, ..., j]
        o[see] = fma32(p[see, ..., j, None], v[:, None, j], o[see])
    return m, total, o


def _combine(m: F32, total: F32, o: F32, m_new: F32, total_new: F32, o_new: F32) -> tuple[F32, F32, F32]:
    """The running (M, L, O) and the (m, l, o) of the next split."""
    top = np.maximum(m, m_new)  # NaN if either is
    a, b = exp32(m - top), exp32(m_new - top)
    return top, fma32(total_new, b, total * a), fma32(o_new, b[..., None], o * a[..., None])


@np.errstate(all="ignore")
def ideal(q: Array, keys: Array, values: Array, position: int, *, scale: np.float32) -> F64:
    """float64; the scale is 1 / sqrt(head_dim) to float64, not its float32 rounding."""
    _check(q, keys, position)
    rows, heads, head_dim = q.shape
    group = heads // keys.shape[0]
    q, keys, values = (x.astype(np.float64) for x in (q, keys[:, : position + rows], values[:, : position + rows]))
    out = np.empty(q.shape, np.float64)
    for r in range(rows):
        seen = position + r + 1
        for h in range(heads):
            s = keys[h // group, :seen] @ q[r, h] / np.sqrt(np.float64(head_dim))
            p = np.exp(s - s.max())
            out[r, h] = p @ values[h // group, :seen] / p.sum()
    return out


def _check(q: Array, keys: Array, position: int) -> None:
    if q.shape[1] % keys.shape[0] or q.shape[2] != keys.shape[2]:
        raise ValueError(f"q {q.shape} does not fit keys {keys.shape}")
    if not 0 <= position <= position + len(q) <= keys.shape[1]:
        raise IndexError(f"positions {position} .. {position + len(q) - 1}, the cache holds {keys.shape[1]}")
