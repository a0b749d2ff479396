"""The ops that read weights as a GGUF file stores them, row after row: matmul and embedding of each type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.adapters.kernel_weights import Shape, shapes, weight
from harness.adapters.user_kernel.op import Case, Op, given, output, sizes
from harness.adapters.user_kernel.plain_ops import case
from harness.kernel_values import KINDS, Kind, generator, values
from reference.forms import Form
from reference.ops.activations import Activations
from reference.ops.quantize import exact as quantize
from reference.spec.layout import WEIGHT_TYPES
from reference.spec.model import Tensor

MOST_WORK = 2**19  # products of a case: a plain kernel takes a second for them on the host device
_PLAIN = {"F32": (np.float32, "float"), "F16": (np.uint16, "unsigned short"), "BF16": (np.uint16, "unsigned short")}
_EMBEDDING = ((1, 1, 256), (3, 5, 512), (17, 33, 768), (2, 257, 1024))  # rows, vocab, dim


def _stored(tensor: Tensor) -> NDArray[Any]:
    """As the kernel gets it: numbers of a plain type, bytes of blocks."""
    return tensor.data.view(_PLAIN[tensor.type][0]) if tensor.type in _PLAIN else tensor.data


def _matmul(type_name: str, shape: Shape, kind: Kind) -> Case:
    outputs, cols, rows = shape
    tensor, x = weight(type_name, outputs, cols), values("x", rows, cols, kind=kind)
    arrays: dict[str, NDArray[Any]] = {"x": x, "weight": _stored(tensor)}
    quantized = quantize(x) if WEIGHT_TYPES[type_name].quantized else None
    if quantized is not None:
        arrays |= {"codes": quantized.codes, "scales": quantized.scales, "sums": quantized.sums}
    inputs = Activations(values=x, quantized=quantized)

    def oracle(form: Form) -> dict[str, NDArray[Any]]:
        return {"out": form.matmul(inputs, tensor)}

    found = {"rows": rows, "outputs": outputs, "cols": cols}
    return case(found, kind, arrays, {"out": ((rows, outputs), np.float32)}, oracle)


def _matmul_cases(type_name: str) -> Callable[[], Iterator[Case]]:
    def every() -> Iterator[Case]:
        for outputs, cols, rows in shapes(type_name):
            if outputs * cols * rows <= MOST_WORK:
                yield _matmul(type_name, (outputs, cols, rows), "normal")
        for kind in KINDS[1:]:
            yield _matmul(type_name, (33, 512, 5), kind)

    return every


def _matmul_op(type_name: str) -> Op:
    plain = type_name in _PLAIN
    x = given("x", "(rows, cols)", listed=plain)
    bits = (
        given("codes", "(rows, cols), activations of 8 bits", "signed char"),
        given("scales", "(rows, cols / 32)"),
        given("sums", "(rows, cols / 32)"),
    )
    stored = "(outputs, cols)" if plain else f"(outputs, bytes of a row), {type_name} blocks as a GGUF file holds them"
    return Op(
        name=f"matmul_{type_name.lower()}",
        formula="out[r, n] = sum over k of x[r, k] * weight[n, k]",
        arguments=(
            output("out", "(rows, outputs)"), x, *(() if plain else bits),
            given("weight", stored, _PLAIN[type_name][1] if plain else "unsigned char"),
            *sizes(rows="tokens", outputs="rows of the weight", cols="length of a sum"),
        ),
        cases=_matmul_cases(type_name),
        grid="ceil(rows * outputs, 256)",
    )  # fmt: skip


def _embedding_cases(type_name: str) -> Callable[[], Iterator[Case]]:
    def every() -> Iterator[Case]:
        for rows, vocab, dim in _EMBEDDING:
            tensor = weight(type_name, vocab, dim)
            tokens = generator(("tokens", rows, vocab)).integers(0, vocab, rows).astype(np.int32)

            def oracle(
                form: Form, tokens: NDArray[np.int32] = tokens, tensor: Tensor = tensor
            ) -> dict[str, NDArray[Any]]:
                return {"out": form.embedding(tokens, tensor)}

            found = {"rows": rows, "vocab": vocab, "dim": dim}
            arrays = {"tokens": tokens, "table": _stored(tensor)}
            yield case(found, "normal", arrays, {"out": ((rows, dim), np.float32)}, oracle)

    return every


def _embedding_op(type_name: str) -> Op:
    plain = type_name in _PLAIN
    stored = "(vocab, dim)" if plain else f"(vocab, bytes of a row), {type_name} blocks as a GGUF file holds them"
    return Op(
        name=f"embedding_{type_name.lower()}",
        formula="out[r] = table[tokens[r]]",
        arguments=(
            output("out", "(rows, dim)"), given("tokens", "(rows,), each below vocab", "int"),
            given("table", stored, _PLAIN[type_name][1] if plain else "unsigned char"),
            *sizes(rows="tokens", vocab="rows of the table", dim="width of a row"),
        ),
        cases=_embedding_cases(type_name),
    )  # fmt: skip


WEIGHT_OPS = tuple(make(type_name) for make in (_matmul_op, _embedding_op) for type_name in WEIGHT_TYPES)
