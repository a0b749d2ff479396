"""The tree keeps its promises: four homes for every op, small files, no hidden inputs, one owner of each package."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import engine
import harness
import reference
import reports
import suites

ROOT = Path(engine.__file__).parent.parent
PACKAGES = (reference, engine, harness, suites, reports)
SHARED = {"checks", "activations", "matmul"}  # engine/ops modules that serve several ops
SPECIAL_KERNELS = {"ceilings", "repack"}  # what measures the machine or brings weights to it: no op of a model


def _stems(folder: str, pattern: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in (ROOT / folder).glob(pattern) if not path.stem.startswith("_")}


OPS = sorted(_stems("engine/ops", "*.py") - SHARED)


def test_there_are_ops() -> None:
    assert len(OPS) >= 19


@pytest.mark.parametrize("op", OPS)
def test_an_op_has_four_homes(op: str) -> None:
    homes = [f"reference/ops/{op}.py", f"engine/kernels/{op}.cu", f"engine/ops/{op}.py", f"suites/kernels/test_{op}.py"]
    assert [home for home in homes if not (ROOT / home).is_file()] == []


def test_no_home_without_an_op() -> None:
    assert _stems("engine/kernels", "*.cu") - SPECIAL_KERNELS == set(OPS)
    assert _stems("reference/ops", "*.py") - SHARED == set(OPS)


def _python_files() -> list[Path]:
    return [path for package in PACKAGES for path in Path(package.__file__ or "").parent.rglob("*.py")]


def test_files_and_functions_stay_small() -> None:
    """A file is one room, a function one thought; `# size:` on the first line gives the reason for an exception."""
    large = []
    for path in _python_files():
        text = path.read_text()
        if text.startswith("# size:"):
            continue
        if len(text.splitlines()) > 400:
            large.append(f"{path.relative_to(ROOT)}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (length := (node.end_lineno or 0) - node.lineno + 1) > 80:
                large.append(f"{path.relative_to(ROOT)}: {node.name} has {length} lines")
    assert large == []


def test_environment_variables_are_read_at_the_edge_only() -> None:
    allowed = re.compile(r"^(harness/cli/|suites/)")
    reads = [
        str(path.relative_to(ROOT))
        for path in _python_files()
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text()) and not allowed.match(str(path.relative_to(ROOT)))
    ]
    assert reads == []


def test_the_packages_share_one_folder() -> None:
    assert {Path(package.__file__ or "").parent.parent for package in PACKAGES} == {ROOT}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.__name__))
def test_every_folder_of_code_is_a_package_with_types(package) -> None:  # type: ignore[no-untyped-def]
    folder = Path(package.__file__).parent
    assert (folder / "py.typed").is_file()
    without = {path.parent for path in folder.rglob("*.py") if not (path.parent / "__init__.py").is_file()}
    assert without == set()


def test_kernel_sources_travel_with_the_package() -> None:
    assert list((ROOT / "engine" / "kernels").glob("*.cu"))
    assert (ROOT / "engine" / "kernels" / "portable.cuh").is_file()
    assert (ROOT / "reference" / "NUMERICS.md").is_file()
