"""A hash over the code that decides a result, so that rows of other code are made again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

SUFFIXES = frozenset((".py", ".cu", ".cuh", ".h", ".hpp", ".c", ".cpp", ".toml"))

# Everything that can change a bit or a figure of a row; the command line, the reports and the suites cannot.
RESULT_CODE = (
    "engine",
    "reference",
    "harness/adapters",
    *(
        f"harness/{stem}.py"
        for stem in (
            "check_id",
            "check_names",
            "child",
            "command_engine",
            "command_proof",
            "compare",
            "empty_row",
            "job",
            "measure",
            "proof",
            "proven",
            "quality",
            "row",
            "rules",
            "sampling",
            "schema",
            "worker",
            "work_model",
        )
    ),
)
MODEL_CODE = ("reference/synth", "reference/quant")
TREE = ("engine", "harness", "reference")  # what a build is known by
PACKAGES = (*TREE, "reports", "suites")  # what a selftest is of


def code_hash(paths: Iterable[str], folder: Path | None = None) -> str:
    """Of files and folders, given as package/below: as installed, or as they lie in `folder`; 16 hex digits."""
    digest = hashlib.blake2b(digest_size=8)
    for path in paths:
        root = _installed(path) if folder is None else folder / path
        files = [root] if root.is_file() else sorted(file for file in root.rglob("*") if file.suffix in SUFFIXES)
        for file in files:
            digest.update(f"{path} {file.relative_to(root)}\0".encode())
            digest.update(hashlib.blake2b(file.read_bytes()).digest())
    return digest.hexdigest()


def package_folder(name: str) -> Path:
    """Where a top-level package is installed; it is not imported."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"package {name} is not installed")
    return Path(next(iter(spec.submodule_search_locations)))


def _installed(path: str) -> Path:
    package, _, below = path.partition("/")
    return package_folder(package) / below
