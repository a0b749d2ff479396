"""Open a GGUF file lean: the header is walked once over a memory map, tensor bytes are views of the map."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from reference.spec.errors import BadInput
from reference.spec.gguf_header import HeaderReader, MetaValue, SkippedArray, TensorInfo, kind_of
from reference.spec.layout import WEIGHT_TYPES

__all__ = ["GgufFile", "MetaValue", "SkippedArray", "TensorInfo", "open_gguf", "shown_path"]

DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True, kw_only=True, eq=False)
class GgufFile:
    """A checked header and the mapped file. The map lives as long as this object or a view made by `raw`."""

    path: Path
    metadata: Mapping[str, MetaValue]
    tensors: Mapping[str, TensorInfo]
    data: mmap.mmap

    def raw(self, name: str) -> NDArray[np.uint8]:
        """The stored bytes of a tensor, (rows, bytes per row): a read-only view of the map; a vector is one row."""
        info = self.tensors.get(name)
        if info is None:
            raise self.fault(f"tensor {name!r} is missing")
        self.require_supported(info)
        rows = info.nbytes // WEIGHT_TYPES[info.type].row_bytes(info.shape[-1])
        return np.frombuffer(self.data, np.uint8, info.nbytes, info.offset).reshape(rows, -1)

    def require_supported(self, info: TensorInfo) -> None:
        """Raise BadInput naming tensor and type unless the type is one of WEIGHT_TYPES."""
        if info.type not in WEIGHT_TYPES:
            supported = ", ".join(WEIGHT_TYPES)
            raise self.fault(f"tensor {info.name!r} has the type {info.type}; supported are {supported}")

    def fault(self, what: str) -> BadInput:
        """The error for a fault in this file's content: one line that begins with its path."""
        return BadInput(f"{shown_path(self.path)}: {what}")


def open_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Map a file and read its header.

    Raises BadInput, one line, on a file that cannot be opened, is not a whole little-endian GGUF version 3 file, is one
    part of a split model, or whose table contradicts itself. An unsupported tensor type is found where it is used.
    """
    data = _map(Path(path))
    reader = HeaderReader(shown_path(Path(path)), data)
    tensor_count, key_count = reader.counts()
    metadata = reader.metadata(key_count)
    _refuse_split(reader, metadata)
    alignment = _alignment(reader, metadata)
    infos = reader.tensors(tensor_count)
    start = -(-reader.position // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for info in infos:
        if info.name in tensors:
            raise reader.fault(f"tensor {info.name!r} is there twice")
        if info.offset % alignment:
            raise reader.fault(f"tensor {info.name!r} begins at offset {info.offset}, not a multiple of {alignment}")
        tensors[info.name] = replace(info, offset=start + info.offset)
    _check_extents(reader, tensors, len(data))
    return GgufFile(path=Path(path), metadata=MappingProxyType(metadata), tensors=MappingProxyType(tensors), data=data)


def shown_path(path: Path) -> str:
    """The path as one line of text, whatever letters are in it."""
    text = str(path)
    return text if text.isprintable() else repr(text)


def _map(path: Path) -> mmap.mmap:
    shown = shown_path(path)
    try:
        # Non-blocking, so that a named pipe is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise BadInput(f"{shown}: not a regular file, expected a GGUF file")
            if status.st_size == 0:
                raise BadInput(f"{shown}: the file is empty, expected a GGUF file")
            return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise BadInput(f"{shown}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"{shown}: not a file name ({error})") from None


def _refuse_split(reader: HeaderReader, metadata: Mapping[str, MetaValue]) -> None:
    parts = metadata.get("split.count", 0)
    if not isinstance(parts, int) or parts > 1:
        raise reader.fault(
            f"one part of a split model ({kind_of(parts)} parts); join the parts with gguf-split --merge"
        )


def _alignment(reader: HeaderReader, metadata: Mapping[str, MetaValue]) -> int:
    value = metadata.get("general.alignment", DEFAULT_ALIGNMENT)
    if not isinstance(value, int) or value < 1 or value & (value - 1):
        raise reader.fault(f"general.alignment is {kind_of(value)}, expected a power of two")
    return value


def _check_extents(reader: HeaderReader, tensors: Mapping[str, TensorInfo], size: int) -> None:
    """Every tensor lies inside the file and none on another."""
    end, last = 0, ""
    for info in sorted((info for info in tensors.values() if info.nbytes), key=lambda info: info.offset):
        if info.offset < end:
            raise reader.fault(f"tensors {last!r} and {info.name!r} overlap")
        end, last = info.offset + info.nbytes, info.name
        if end > size:
            raise reader.fault(f"truncated: tensor {info.name!r} ends at byte {end}, the file has {size}")
