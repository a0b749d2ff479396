"""A new file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from reference.spec.errors import BadInput
from reference.spec.gguf_file import shown_path


@contextmanager
def whole_file(path: Path, size: int) -> Iterator[FileIO]:
    """Write to a file beside `path` that takes its place at the end of the block; on any exception it is removed.

    Raises BadInput if the place cannot be written to, is something other than a file or has less than `size` bytes
    free, and turns an operating system's error inside the block (a full disk) into BadInput.
    """
    shown = shown_path(path)
    try:
        _check_place(path, shown, size)
        part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
        try:
            with FileIO(part, "xb") as file:
                yield file
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"{shown}: cannot be written ({error.strerror}); nothing was left behind") from None


def _check_place(path: Path, shown: str, size: int) -> None:
    if "\0" in str(path) or not path.name:
        raise BadInput(f"{shown}: not a file name")
    if path.exists() and not path.is_file():
        raise BadInput(f"{shown}: exists and is not a file")
    if not path.parent.is_dir():
        raise BadInput(f"{shown}: its folder does not exist")
    free = shutil.disk_usage(path.parent).free
    if not size <= free:
        raise BadInput(f"{shown}: needs {size / 1e9:.2f} GB of disk space, {free / 1e9:.2f} GB are free")
