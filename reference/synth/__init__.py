"""Synthetic models: GGUF files of random weights, the same bytes for the same name, quant and seed everywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reference.spec.errors import BadInput
from reference.synth.atomic import whole_file
from reference.synth.header import PlannedTensor, aligned, header_bytes
from reference.synth.mix import FILE_TYPES
from reference.synth.plan import plan_metadata, plan_tensors
from reference.synth.random_blocks import random_chunks
from reference.synth.shapes import SHAPES, TINY, SynthShape
from reference.synth.values import encoded_tensor

__all__ = ["TINY", "SynthShape", "synth", "synth_bytes", "synth_names", "synth_quants", "synth_shape"]

Progress = Callable[[int, int], None]  # bytes done, bytes in all


def synth_names() -> tuple[str, ...]:
    """The models that `synth` can make."""
    return tuple(SHAPES)


def synth_quants() -> tuple[str, ...]:
    """Quant names: a weight type for all matrices, or a mix."""
    return tuple(FILE_TYPES)


def synth(name: str, *, quant: str, seed: int, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
    """Write the model `name` to `path`, whole or not at all. `progress` is called with bytes done and bytes in all.

    Raises BadInput on an unknown name or quant, a quant that needs an unsupported type, a negative seed, a place that
    cannot be written to or has too little space.
    """
    synth_shape(_shape(name), name=name, quant=quant, seed=seed, path=path, progress=progress)


def synth_shape(
    shape: SynthShape,
    *,
    quant: str,
    seed: int,
    path: str | os.PathLike[str],
    name: str = "qwen3",
    progress: Progress | None = None,
) -> None:
    """`synth` for a shape of one's own; `name` goes into the file's metadata."""
    _check_quant(quant)
    if not 0 <= seed < 2**64:
        raise BadInput(f"seed {seed}: expected 0 to {2**64 - 1}")
    header, tensors, total = _layout(shape, name=name, quant=quant, seed=seed)
    with whole_file(Path(path), total) as file:
        done = _write_all(file, header)
        for tensor in tensors:
            for chunk in _chunks(tensor, seed, random_blocks=shape.random_blocks):
                done += _write_all(file, chunk)
                if progress is not None:
                    progress(done, total)
            done += _write_all(file, bytes(aligned(done) - done))


def synth_bytes(name: str, quant: str) -> int:
    """Size of the file that `synth` would write. Raises BadInput as `synth` does."""
    shape = _shape(name)
    _check_quant(quant)
    return _layout(shape, name=name, quant=quant, seed=0)[2]


def _shape(name: str) -> SynthShape:
    if name not in SHAPES:
        raise BadInput(f"synthetic model {name!r}: expected one of {', '.join(SHAPES)}")
    return SHAPES[name]


def _check_quant(quant: str) -> None:
    if quant not in FILE_TYPES:
        raise BadInput(f"quant {quant!r}: expected one of {', '.join(FILE_TYPES)}")


def _layout(shape: SynthShape, *, name: str, quant: str, seed: int) -> tuple[bytes, list[PlannedTensor], int]:
    """Header, tensors and size of the whole file."""
    tensors = plan_tensors(shape.spec(), quant)
    header = header_bytes(plan_metadata(shape, name=name, quant=quant, seed=seed), tensors)
    return header, tensors, len(header) + sum(aligned(tensor.nbytes) for tensor in tensors)


def _chunks(tensor: PlannedTensor, seed: int, *, random_blocks: bool) -> Iterator[NDArray[np.uint8]]:
    """Vectors always have encoded values: they have a mean, and are small."""
    if random_blocks and len(tensor.shape) > 1:
        yield from random_chunks(tensor, seed)
    else:
        yield encoded_tensor(tensor, seed)


def _write_all(file: FileIO, data: bytes | NDArray[np.uint8]) -> int:
    """One write call may stop short, on a disk that is nearly full or past 2 GB."""
    view = memoryview(data if isinstance(data, bytes) else data.data).cast("B")
    done = 0
    while done < len(view):
        done += file.write(view[done:])
    return done
