"""A Python environment for each arm: its own, or, where that suffices, one that shares the libraries of this one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from email import message_from_string
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from harness.code_hash import package_folder
from harness.errors import BadCall

Sharing = Literal["auto", "shared", "own"]
CUDA_EXTRAS = ("cuda13", "cuda12")


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What an arm declares: its version, what it requires, and the exact versions it was tested with."""

    version: str
    requirements: tuple[str, ...]  # of the package and, marked by `extra == ...`, of its extras
    pins: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Made:
    python: Path
    words: str  # how it was made


def needs(tree: Path) -> Needs:
    """Of a checkout (pyproject.toml) or an unpacked wheel (METADATA). Raises BadCall if it is neither."""
    project = tree / "pyproject.toml"
    try:
        if project.is_file():
            return _readable(_of_project(tomllib.loads(project.read_text())))
        [facts] = tree.glob("*.dist-info/METADATA")
        message = message_from_string(facts.read_text())
        requirements = tuple(str(text) for text in message.get_all("Requires-Dist", []))
        return _readable(Needs(version=str(message["Version"]), requirements=requirements))
    except (KeyError, ValueError, OSError) as error:
        raise BadCall(f"{tree}: what it needs cannot be read ({type(error).__name__}: {error})") from None


def shared(wanted: Sequence[Needs], *, sharing: Sharing, device: str) -> bool:
    """Whether the libraries of this interpreter stand for all arms.

    "auto": if they satisfy every arm, and the arms ask for the same; where they differ in a library, that is part of
    the change, and each arm gets what it asks for. Raises BadCall if "shared" is wanted and something is missing.
    """
    if sharing == "own":
        return False
    missing = [text for arm in wanted for text in unsatisfied(arm, device)]
    if sharing == "shared" and missing:
        raise BadCall(f"--environments shared: this environment lacks {missing[0]}")
    asked = {frozenset(str(Requirement(text)) for text in arm.requirements) for arm in wanted}
    pinned = {frozenset(arm.pins) for arm in wanted if arm.pins}  # a wheel holds no pins
    alike = len(asked) == 1 and len(pinned) <= 1
    return not missing and (alike or sharing == "shared")


def unsatisfied(arm: Needs, device: str) -> list[str]:
    """The requirements that this interpreter does not meet, one CUDA extra being enough on a GPU."""
    found = [text for text in arm.requirements if _applies(text, "") and not _met(text)]
    if device != "cuda":
        return found
    extras = [[text for text in arm.requirements if _only_for(text, extra) and not _met(text)] for extra in CUDA_EXTRAS]
    return found + min(extras, key=len)


def unpack(wheel: Path, folder: Path) -> None:
    """A wheel is a zip of what is installed; ours holds Python and text only. Raises BadCall if it is none."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise BadCall(f"{wheel}: cannot be unpacked ({error})") from None


def make(folder: Path, tree: Path, wanted: Needs, *, wheel: Path | None, shared: bool, device: str) -> Made:
    """An environment in `folder` whose `harness`, `engine` and `reference` are those of `tree`."""
    shutil.rmtree(folder, ignore_errors=True)
    if not shared:
        return _own(folder, tree, wheel, device)
    venv.create(folder, with_pip=False, symlinks=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    # Read in this order: the arm's packages first, so that none of the running build can stand in for them.
    (site / "arm.pth").write_text("\n".join((str(tree.absolute()), *_libraries())) + "\n")
    _link_shared_objects(site)
    if wheel is None:  # as an editable installation would
        record = site / f"zeroulp-{wanted.version}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: zeroulp\nVersion: {wanted.version}\n")
    return Made(
        python=folder / "bin" / "python",
        words="a virtual environment with the arm's packages alone, the libraries shared with the gate's interpreter",
    )


def _link_shared_objects(site: Path) -> None:
    """cuda-pathfinder looks for NVIDIA's libraries in the site-packages of an interpreter, not along its path."""
    found = find_spec("nvidia")
    for folder in (found.submodule_search_locations or ()) if found is not None else ():
        for package in Path(folder).iterdir():
            link = site / "nvidia" / package.name
            link.parent.mkdir(exist_ok=True)
            if not link.exists():
                link.symlink_to(package.absolute())


def _own(folder: Path, tree: Path, wheel: Path | None, device: str) -> Made:
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        raise BadCall("an arm needs an environment of its own, and uv is not here: pip install uv")
    python = folder / "bin" / "python"
    extra = next((name for name in CUDA_EXTRAS if _has(f"cupy-{name}x")), CUDA_EXTRAS[0])
    extras = f"[{extra}]" if device == "cuda" else ""
    made = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    # In the folder of the tree, whose pyproject.toml holds the pins.
    what = [f"{wheel}{extras}"] if wheel is not None else ["--editable", f".{extras}"]
    for command in (made, [*install, *what]):
        done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            why = next((line for line in reversed(lines) if not line.startswith("hint")), "uv failed")
            raise BadCall(f"an environment for {tree.parent.name} cannot be made: {why}")
    return Made(python=python, words="a virtual environment of its own, made by uv from what the arm declares")


def _of_project(data: dict[str, object]) -> Needs:
    project, tool = data["project"], data.get("tool", {})
    assert isinstance(project, dict)
    assert isinstance(tool, dict)
    extras = project.get("optional-dependencies", {})
    marked = [f'{text}; extra == "{name}"' for name in sorted(extras) for text in extras[name]]
    return Needs(
        version=str(project["version"]),
        requirements=(*project["dependencies"], *marked),
        pins=tuple(tool.get("uv", {}).get("constraint-dependencies", ())),
    )


def _readable(arm: Needs) -> Needs:
    """The same. Raises InvalidRequirement, a ValueError, for a requirement that is none."""
    for text in arm.requirements:
        Requirement(text)
    return arm


def _libraries() -> list[str]:
    """The folders this interpreter finds libraries in: all but the standard library's and a checkout of zeroulp."""
    paths = sysconfig.get_paths()
    standard = {Path(paths[name]) for name in ("stdlib", "platstdlib")}
    standard |= {path / "lib-dynload" for path in standard}
    running = package_folder("harness").parent
    folders = [Path(text).absolute() for text in sys.path if text and Path(text).is_dir()]
    checkout = running if (running / "pyproject.toml").is_file() else None
    return [str(path) for path in dict.fromkeys(folders) if path not in standard and path != checkout]


def _applies(text: str, extra: str) -> bool:
    marker = Requirement(text).marker
    return marker is None or marker.evaluate({"extra": extra})


def _only_for(text: str, extra: str) -> bool:
    return _applies(text, extra) and not _applies(text, "")


def _met(text: str) -> bool:
    requirement = Requirement(text)
    try:
        return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)
    except metadata.PackageNotFoundError:
        return False


def _has(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
