"""A model: an open file, what it is, and its tensors."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reference.spec import qwen3
from reference.spec.gguf_file import GgufFile, open_gguf
from reference.spec.gguf_header import kind_of
from reference.spec.layout import decode_floats
from reference.spec.qwen3 import Qwen3, read_qwen3

_READERS = {qwen3.ARCHITECTURE: read_qwen3}


@dataclass(frozen=True, kw_only=True, eq=False)
class Tensor:
    """A stored tensor, bytes as they are in the file."""

    name: str
    type: str  # a key of layout.WEIGHT_TYPES
    shape: tuple[int, ...]  # numpy order: (out, in) for a matrix
    data: NDArray[np.uint8]  # (rows, bytes per row), read-only; a vector is one row

    def float32(self) -> NDArray[np.float32]:
        """The values in the tensor's shape; exact. Only for F32, F16 and BF16: norms and biases."""
        return decode_floats(self.type, self.data).reshape(self.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A checked model file; every tensor that `spec` promises is there in its shape."""

    file: GgufFile
    spec: Qwen3

    def tensor(self, name: str) -> Tensor:
        """Raises BadInput if there is no such tensor."""
        data = self.file.raw(name)
        info = self.file.tensors[name]
        return Tensor(name=name, type=info.type, shape=info.shape, data=data)

    def head(self) -> Tensor:
        """The output matrix (vocab, dim): the embedding table where the model is tied."""
        return self.tensor("token_embd.weight" if self.spec.tied else "output.weight")


def open_model(path: str | os.PathLike[str]) -> Model:
    """Open and check a model file. Raises BadInput, one line, on any fault."""
    file = open_gguf(path)
    architecture = file.metadata.get("general.architecture")
    if not isinstance(architecture, str):
        state = "is missing" if architecture is None else f"is {kind_of(architecture)}"
        raise file.fault(f"metadata general.architecture {state}, expected a string")
    reader = _READERS.get(architecture)
    if reader is None:
        raise file.fault(f"architecture {kind_of(architecture)} is not supported; supported: {', '.join(_READERS)}")
    return Model(file=file, spec=reader(file))
