"""A new file that appears whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from reference.spec.errors import BadInput


@contextmanager
def whole_file(path: Path, size: int) -> Iterator[FileIO]:
    """Write to a file beside `path` that takes its place at the end of the block; on any exception it is removed.

    Raises BadInput if the place cannot be written to, is something other than a file or has less than `size` bytes
    free, and turns an operating system's error inside the block (a full disk) into BadInput.
    """
    _check_place(path, size)
    part = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.part")
    try:
        try:
            with FileIO(part, "xb") as file:
                yield file
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror}); nothing was left behind") from None


def _check_place(path: Path, size: int) -> None:
    folder = path.parent
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            raise BadInput(f"{path}: exists and is not a file")
        if not folder.is_dir():
            raise BadInput(f"{path}: the folder {folder} does not exist")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
    if not size <= free:
        raise BadInput(f"{path}: needs {size / 1e9:.2f} GB of disk space, {free / 1e9:.2f} GB are free")
