"""The file of a saved op: an .npz whose arrays are numbered, with a JSON header that says what they are."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.errors import BadCall

OP_SCHEMA = 1
HEADER = {"schema": OP_SCHEMA}
_SCALARS = {kind.__name__: kind for kind in (np.int32, np.uint32, np.int64, np.float32)}


def npz(header: dict[str, Any], arrays: Sequence[NDArray[Any]]) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(file, header=text, **{f"a{i}": array for i, array in enumerate(arrays)})  # type: ignore[arg-type]
    return file.getvalue()


def read_npz(path: Path) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """Raises BadCall if it is no saved op."""
    if path.is_file() and not zipfile.is_zipfile(path):
        raise BadCall(f"{path}: not a saved op of schema {OP_SCHEMA}")
    try:
        with np.load(path) as file:
            header = json.loads(file["header"].tobytes())
            arrays = [file[f"a{i}"] for i in range(len(file.files) - 1)]
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror or 'not a saved op'})") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BadCall(f"{path}: not a saved op ({error})") from None
    if not isinstance(header, dict) or header.get("schema") != OP_SCHEMA:
        raise BadCall(f"{path}: not a saved op of schema {OP_SCHEMA}")
    return header, arrays


def scalar_text(value: Any) -> Any:
    """A kernel argument for JSON: a plain int (the index of a buffer) and None as they are, a number with its type."""
    if value is None or type(value) is int:
        return value
    return [type(value).__name__, value.item()]


def scalar(text: Any) -> Any:
    """And back; a number that has its type already stays."""
    return _SCALARS[text[0]](text[1]) if isinstance(text, list) else text
