"""What a row's content key covers: all code that runs in the process of a row."""

from __future__ import annotations

import ast
from pathlib import Path

from harness.code_hash import RESULT_CODE, package_folder

# Errors and their words, locks, files and the hash itself decide whether there is a row, not what is in it; the others
# make the answer of a process of many rows or of a user's kernel, which is never stored as a row.
NO_RESULT = {
    *(f"harness/{stem}.py" for stem in ("code_hash", "errors", "locks", "store", "upgrade", "words")),
    *(f"harness/{stem}.py" for stem in ("canaries", "environment", "kernels", "limits", "process")),
    *(f"harness/{stem}.py" for stem in ("expressions", "kernel_values", "user_kernel")),
}


def imported(path: Path, root: Path) -> set[Path]:
    """Modules of the harness that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("harness."):
            module = root.joinpath(*str(node.module).split("."))
            found.add(module.with_suffix(".py"))
    return {module for module in found if module.is_file()}


def test_everything_that_makes_a_row_is_in_its_key() -> None:
    root = package_folder("harness").parent
    reached: set[Path] = set()
    waiting = {root / "harness" / "worker.py"}
    while waiting:
        path = waiting.pop()
        reached.add(path)
        waiting |= imported(path, root) - reached
    names = {path.relative_to(root).as_posix() for path in reached}
    assert "harness/row.py" in names
    assert {name for name in names if not name.startswith(RESULT_CODE)} <= NO_RESULT
