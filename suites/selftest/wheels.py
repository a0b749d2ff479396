"""A tree as a wheel: an arm of a gate where there is neither git nor an index of packages to build one from."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

from harness.code_hash import PACKAGES
from harness.gate.environments import Needs, needs


def write_wheel(tree: Path, folder: Path) -> Path:
    """In `folder`, which is made, the packages of `tree`, which has a pyproject.toml. Raises BadCall if it has none.

    Pure Python, so that no compiler and no build backend is needed; pip and uv install it like a built one.
    """
    wanted = needs(tree)
    facts = f"zeroulp-{wanted.version}.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"zeroulp-{wanted.version}-py3-none-any.whl"
    files = [file for package in PACKAGES for file in sorted((tree / package).rglob("*")) if file.is_file()]
    record: list[str] = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(name: str, content: bytes) -> None:
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")

        for file in (file for file in files if "__pycache__" not in file.parts):
            add(file.relative_to(tree).as_posix(), file.read_bytes())
        add(f"{facts}/METADATA", _metadata(wanted).encode())
        add(f"{facts}/WHEEL", b"Wheel-Version: 1.0\nGenerator: zeroulp\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{facts}/RECORD", "\n".join([*record, f"{facts}/RECORD,,", ""]))
    return path


def _metadata(wanted: Needs) -> str:
    lines = ["Metadata-Version: 2.1", "Name: zeroulp", f"Version: {wanted.version}"]
    return "\n".join([*lines, *(f"Requires-Dist: {text}" for text in wanted.requirements)]) + "\n\n"
