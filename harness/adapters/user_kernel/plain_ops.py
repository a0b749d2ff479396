"""The ops that read no weight file: their arguments and cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.adapters.user_kernel.op import Case, Op, given, output, scalar, sizes
from harness.kernel_values import KINDS, QK_NORM, RMS_NORM, ROPE, SWIGLU, Kind, rope_tables, values
from reference.forms import Form
from reference.ops.quantize import BLOCK, Quantized

EPS = 1e-6
Shape = tuple[int, ...]
Make = Callable[[Shape, Kind], Case]

_ADD = ((1, 1), (3, 5), (17, 33), (2, 255), (5, 1024), (3, 1025), (64, 257), (1, 5120))
_QUANTIZE = ((1, 32), (3, 96), (2, 256), (5, 1056), (17, 704), (1, 5120))
_ARGMAX = ((1, 1), (3, 5), (2, 255), (1, 1024), (5, 1025), (2, 3001), (1, 151936))
# rows, heads, kv_heads, head_dim, context, position
_ATTENTION = (
    (1, 2, 1, 32, 1, 0), (1, 4, 2, 64, 255, 254), (1, 8, 1, 34, 256, 255), (1, 5, 1, 128, 257, 256),
    (3, 6, 2, 64, 300, 0), (5, 6, 3, 80, 513, 255), (2, 4, 4, 66, 600, 511), (17, 4, 2, 128, 64, 37),
)  # fmt: skip


def _cases(shapes: Sequence[Shape], awkward: Shape, make: Make) -> Callable[[], Iterator[Case]]:
    """Every shape with normal values, and one shape with each of the other kinds."""

    def every() -> Iterator[Case]:
        for shape in shapes:
            yield make(shape, "normal")
        for kind in KINDS[1:]:
            yield make(awkward, kind)

    return every


def case(
    shape: Mapping[str, int],
    kind: str,
    arrays: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, tuple[Shape, type[np.generic]]],
    oracle: Callable[[Form], Mapping[str, NDArray[Any]]],
    scalars: Mapping[str, np.float32] | None = None,
) -> Case:
    """Named after its sizes and the kind of its values: the name runs it alone."""
    name = " ".join([*(f"{size}={value}" for size, value in shape.items()), *([] if kind == "normal" else [kind])])
    return Case(name=name, arrays=arrays, sizes=shape, outputs=outputs, oracle=oracle, scalars=scalars or {})


def _rms_norm(shape: Shape, kind: Kind) -> Case:
    rows, dim = shape
    x, weight = values("x", rows, dim, kind=kind), values("weight", dim)
    return case(
        {"rows": rows, "dim": dim}, kind, {"x": x, "weight": weight}, {"out": (shape, np.float32)},
        lambda form: {"out": form.rms_norm(x, weight, eps=EPS)}, {"eps": np.float32(EPS)},
    )  # fmt: skip


def _qk_norm(shape: Shape, kind: Kind) -> Case:
    rows, heads, head_dim = shape
    x, weight = values("x", *shape, kind=kind), values("weight", head_dim)
    return case(
        {"rows": rows, "heads": heads, "head_dim": head_dim}, kind, {"x": x, "weight": weight},
        {"out": (shape, np.float32)}, lambda form: {"out": form.qk_norm(x, weight, eps=EPS)}, {"eps": np.float32(EPS)},
    )  # fmt: skip


def _rope(shape: Shape, kind: Kind) -> Case:
    rows, heads, head_dim, n_rot, position = shape
    x, positions = values("x", rows, heads, head_dim, kind=kind), position + rows + 1
    cos, sin = rope_tables(positions, n_rot // 2)
    found = {"rows": rows, "heads": heads, "head_dim": head_dim, "pairs": n_rot // 2, "position": position}
    return case(
        {**found, "positions": positions}, kind, {"x": x, "cos": cos, "sin": sin}, {"out": (x.shape, np.float32)},
        lambda form: {"out": form.rope(x, cos, sin, position)},
    )  # fmt: skip


def _swiglu(shape: Shape, kind: Kind) -> Case:
    rows, ff = shape
    gate, up = values("gate", rows, ff, kind=kind) * np.float32(8), values("up", rows, ff)
    return case(
        {"rows": rows, "ff": ff}, kind, {"gate": gate, "up": up}, {"out": (shape, np.float32)},
        lambda form: {"out": form.swiglu(gate, up)},
    )  # fmt: skip


def _add(shape: Shape, kind: Kind) -> Case:
    rows, dim = shape
    x, y = values("x", rows, dim, kind=kind), values("y", rows, dim)
    return case(
        {"rows": rows, "dim": dim}, kind, {"x": x, "y": y}, {"out": (shape, np.float32)},
        lambda form: {"out": form.add(x, y)},
    )  # fmt: skip


def _quantize(shape: Shape, kind: Kind) -> Case:
    rows, cols = shape
    x = values("x", rows, cols, kind=kind)

    def oracle(form: Form) -> dict[str, NDArray[Any]]:
        found = form.quantize(x)
        assert isinstance(found, Quantized)  # the op has no ideal form
        return {"codes": found.codes, "scales": found.scales, "sums": found.sums}

    blocks = (rows, cols // BLOCK)
    outputs: dict[str, tuple[Shape, type[np.generic]]] = {
        "codes": (shape, np.int8), "scales": (blocks, np.float32), "sums": (blocks, np.float32),
    }  # fmt: skip
    return case({"rows": rows, "cols": cols}, kind, {"x": x}, outputs, oracle)


def _argmax(shape: Shape, kind: Kind) -> Case:
    rows, vocab = shape
    logits = values("logits", rows, vocab, kind=kind).round(1)  # many ties
    return case(
        {"rows": rows, "vocab": vocab}, kind, {"logits": logits}, {"out": ((rows,), np.int32)},
        lambda form: {"out": form.argmax(logits)},
    )  # fmt: skip


def _attention(kv: type[np.float32] | type[np.float16]) -> Make:
    def make(shape: Shape, kind: Kind) -> Case:
        rows, heads, kv_heads, head_dim, context, position = shape
        cells = (kv_heads, context, head_dim)
        q, keys = values(("q", shape), rows, heads, head_dim, kind=kind), values("keys", *cells).astype(kv)
        kept = values("values", *cells).astype(kv)
        for unread in (keys, kept):
            unread[:, position + rows :] = np.nan
        scale = np.float32(1 / np.sqrt(np.float64(head_dim)))
        found = {"rows": rows, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim, "context": context}
        return case(
            {**found, "position": position}, kind, {"q": q, "keys": keys, "values": kept},
            {"out": (q.shape, np.float32)}, lambda form: {"out": form.attention(q, keys, kept, position, scale=scale)},
            {"scale": scale},
        )  # fmt: skip

    return make


def _attention_op(name: str, kind: str, kv: type[np.float32] | type[np.float16]) -> Op:
    cells = "(kv_heads, context, head_dim); NaN past the last visible key"
    return Op(
        name=name,
        formula="out[r, h] = softmax(scale * q[r, h] . keys[h / (heads / kv_heads), 0 .. position + r]) . values",
        arguments=(
            output("out", "(rows, heads, head_dim)"), given("q", "(rows, heads, head_dim)"), given("keys", cells, kind),
            given("values", cells, kind),
            *sizes(
                position="of row 0", rows="tokens", heads="query heads", kv_heads="key heads", head_dim="even",
                context="positions of the cache",
            ),
            scalar("scale", "1 / sqrt(head_dim)"),
        ),
        cases=_cases(_ATTENTION, (3, 6, 2, 64, 300, 257), _attention(kv)),
        grid="rows * heads",
    )  # fmt: skip


_ROWS_DIM = sizes(rows="tokens", dim="width of a row")

PLAIN_OPS = (
    Op(
        name="rms_norm",
        formula="out[r, i] = x[r, i] / sqrt(mean of x[r]^2 + eps) * weight[i]",
        arguments=(
            output("out", "(rows, dim)"), given("x", "(rows, dim)"), given("weight", "(dim,)"), *_ROWS_DIM,
            scalar("eps", "1e-6"),
        ),
        cases=_cases(RMS_NORM, (5, 704), _rms_norm),
    ),
    Op(
        name="qk_norm",
        formula="out[r, h, i] = x[r, h, i] / sqrt(mean of x[r, h]^2 + eps) * weight[i]",
        arguments=(
            output("out", "(rows, heads, head_dim)"), given("x", "(rows, heads, head_dim)"),
            given("weight", "(head_dim,)"), *sizes(rows="tokens", heads="of a token", head_dim="width of a head"),
            scalar("eps", "1e-6"),
        ),
        cases=_cases(QK_NORM, (3, 5, 128), _qk_norm),
        grid="rows * heads",
    ),
    Op(
        name="rope",
        formula="a' = a cos - b sin, b' = b cos + a sin for a = x[.., p], b = x[.., p + pairs]; the rest is copied",
        arguments=(
            output("out", "(rows, heads, head_dim)"), given("x", "(rows, heads, head_dim)"),
            given("cos", "(positions, pairs)"), given("sin", "(positions, pairs)"),
            *sizes(
                position="of row 0", rows="tokens", heads="of a token", head_dim="width of a head",
                pairs="pairs that turn, at most head_dim / 2", positions="rows of the tables",
            ),
        ),
        cases=_cases(ROPE, (3, 5, 80, 80, 11), _rope),
        grid="rows * heads",
    ),
    Op(
        name="swiglu",
        formula="out[r, i] = gate[r, i] / (1 + exp(-gate[r, i])) * up[r, i]",
        arguments=(
            output("out", "(rows, ff)"), given("gate", "(rows, ff)"), given("up", "(rows, ff)"),
            *sizes(rows="tokens", ff="width of a row"),
        ),
        cases=_cases(SWIGLU, (3, 331), _swiglu),
        grid="ceil(rows * ff, 256)",
    ),
    Op(
        name="add",
        formula="out[r, i] = x[r, i] + y[r, i]",
        arguments=(output("out", "(rows, dim)"), given("x", "(rows, dim)"), given("y", "(rows, dim)"), *_ROWS_DIM),
        cases=_cases(_ADD, (3, 331), _add),
        grid="ceil(rows * dim, 256)",
    ),
    Op(
        name="quantize",
        formula="per block of 32: scale = max |x| / 127, code = rint(x / scale), sum = scale * sum of codes",
        arguments=(
            output("codes", "(rows, cols)", "signed char"), output("scales", "(rows, cols / 32)"),
            output("sums", "(rows, cols / 32)"), given("x", "(rows, cols)"),
            *sizes(rows="tokens", cols="a multiple of 32"),
        ),
        cases=_cases(_QUANTIZE, (3, 352), _quantize),
        has_ideal=False,
    ),
    Op(
        name="argmax",
        formula="out[r] = the lowest index of the largest logits[r]; of the first NaN if there is one",
        arguments=(
            output("out", "(rows,)", "int"), given("logits", "(rows, vocab)"), *sizes(rows="tokens", vocab="ids"),
        ),
        cases=_cases(_ARGMAX, (5, 2000), _argmax),
        has_ideal=False,
    ),
    _attention_op("attention", "float", np.float32),
    _attention_op("attention_f16", "unsigned short", np.float16),
)  # fmt: skip
