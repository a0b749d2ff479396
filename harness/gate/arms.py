"""The two arms: what was named on the command line, and the build that stands for it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from harness.adapters.settings import canonical_toggles
from harness.code_hash import TREE, code_hash
from harness.errors import BadCall
from harness.gate import environments
from harness.gate.environments import Needs, Sharing
from harness.gate.schema import PLAN_FILE, Arm
from harness.schema import PlannedRow
from harness.store import PLAN

Side = Literal["base", "head"]
SIDES: tuple[Side, Side] = ("base", "head")
ASK_TOGGLES = "from harness.adapters.settings import TOGGLE_NAMES; print(*TOGGLE_NAMES)"
NO_HOOKS = ("-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false")


@dataclass(frozen=True, kw_only=True)
class Source:
    """An arm as it was named: a commit, a wheel, a run folder or a side of a finished gate, whichever is not empty."""

    spec: str
    commit: str = ""
    repository: Path | None = None  # of the commit
    wheel: Path | None = None
    run: Path | None = None
    gate: Path | None = None  # the gate's folder

    @property
    def fixed(self) -> str:
        """A name that stays: a branch moves, its commit does not."""
        return self.commit[:12] or self.spec


@dataclass(frozen=True, kw_only=True)
class Build:
    """An arm that can be measured. `command` starts its worker; a worker that reports another tree is another build."""

    arm: Arm
    command: tuple[str, ...]
    toggles: frozenset[str] | None = None  # that it knows; None: not asked

    def asked(self, row: PlannedRow) -> PlannedRow:
        """The row as this build can be asked for it: a toggle that it does not know yet is left out at its default."""
        defaults = canonical_toggles({})
        kept = {
            name: value
            for name, value in row.toggles.items()
            if self.toggles is None or name in self.toggles or value != defaults.get(name)
        }
        return row if kept == row.toggles else msgspec.structs.replace(row, toggles=kept)

    def foreign(self, *, tree: str, git_commit: str) -> str:
        """Why an answer is not from this build; empty if it is."""
        if tree != self.arm.tree:
            return f"the wrong build was measured: source tree {tree or 'unknown'}, expected {self.arm.tree}"
        if self.arm.git_sha and git_commit != self.arm.git_sha:
            return f"the wrong build was measured: commit {git_commit or 'unknown'}, expected {self.arm.git_sha}"
        return ""


def resolve(spec: str, folder: Path) -> Source:
    """What a spec names, seen from `folder`. Raises BadCall naming what was expected."""
    path = folder / spec
    if path.suffix == ".whl":
        if not path.is_file():
            raise BadCall(f"{spec}: no such wheel")
        return Source(spec=spec, wheel=path.resolve())
    if (path / PLAN).is_file():
        return Source(spec=spec, run=path.resolve())
    if path.name in SIDES and (path.parent / PLAN_FILE).is_file():
        return Source(spec=spec, gate=path.parent.resolve())
    if (path / PLAN_FILE).is_file():
        raise BadCall(
            f"{spec}: is the folder of a gate; it is judged again as {Path(spec) / 'base'} {Path(spec) / 'head'}"
        )
    top = _git(folder, "rev-parse", "--show-toplevel")
    commit = (
        _git(Path(top), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{spec}^{{commit}}") if top else ""
    )
    if not commit:
        where = f"a commit of {top}" if top else "a commit (this is no git checkout)"
        raise BadCall(f"{spec}: neither {where}, nor a wheel (*.whl), nor a run folder (with {PLAN})")
    return Source(spec=spec, commit=commit, repository=Path(top))


def uncommitted(source: Source) -> bool:
    """Whether the checkout that a commit was named in has changes that are in no commit."""
    return source.repository is not None and bool(
        _git(source.repository, "status", "--porcelain", "--untracked-files=no")
    )


def build_arms(sources: Mapping[Side, Source], folder: Path, *, sharing: Sharing, device: str) -> dict[Side, Build]:
    """Trees and environments of all arms below `folder`. Raises BadCall where one cannot be."""
    trees = {side: _tree(source, folder / side) for side, source in sources.items()}
    needs = {side: environments.needs(tree) for side, tree in trees.items()}
    shared = environments.shared(list(needs.values()), sharing=sharing, device=device)
    return {side: _build(sources[side], trees[side], needs[side], folder / side, shared, device) for side in sources}


def remove_worktrees(sources: Mapping[Side, Source], folder: Path) -> None:
    """Take the trees of commits out of the repositories that they were checked out of."""
    for side, source in sources.items():
        if source.repository is not None:
            _git(source.repository, "worktree", "remove", "--force", str(folder / side / "tree"))


def _tree(source: Source, folder: Path) -> Path:
    """The packages of an arm in a folder of their own."""
    tree = folder / "tree"
    folder.mkdir(parents=True, exist_ok=True)
    if source.wheel is not None:
        environments.unpack(source.wheel, tree)
    elif source.repository is not None:
        _check_out(source.repository, source.commit, tree)
    missing = [name for name in TREE if not (tree / name / "__init__.py").is_file()]
    if missing:
        raise BadCall(f"{source.spec}: is no zeroulp, it has no package {', '.join(missing)}")
    return tree


def _check_out(repository: Path, commit: str, tree: Path) -> None:
    """A worktree, not an archive: its worker can then say which commit it is."""
    if tree.exists() and _git(tree, "rev-parse", "HEAD") == commit:
        with suppress(subprocess.CalledProcessError):  # of a gate that was interrupted: as it was checked out
            _must(tree, "reset", "--hard", "--quiet", commit)
            return
    _git(repository, "worktree", "remove", "--force", str(tree))
    _git(repository, "worktree", "prune")
    try:
        _must(repository, *NO_HOOKS, "worktree", "add", "--detach", "--force", str(tree.absolute()), commit)
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()
        raise BadCall(f"{commit[:12]}: cannot be checked out ({last[-1] if last else 'git failed'})") from None


def _build(source: Source, tree: Path, needs: Needs, folder: Path, shared: bool, device: str) -> Build:
    made = environments.make(folder / "environment", tree, needs, wheel=source.wheel, shared=shared, device=device)
    arm = Arm(
        spec=source.spec,
        kind="wheel" if source.wheel else "commit",
        git_sha=source.commit,
        version=needs.version,
        tree=code_hash(TREE, tree),
        engine=code_hash(("engine",), tree),
        built=made.words,
    )
    # -I: neither the folder this is called from nor PYTHONPATH can put another build in its place.
    isolated = (str(made.python), "-I")
    return Build(arm=arm, command=(*isolated, "-m", "harness.worker"), toggles=_toggles(isolated, source))


def _toggles(isolated: tuple[str, ...], source: Source) -> frozenset[str]:
    """The names that a build knows. Raises BadCall if it cannot even be imported."""
    done = subprocess.run([*isolated, "-c", ASK_TOGGLES], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise BadCall(f"{source.spec}: cannot be imported ({lines[-1] if lines else 'no reason given'})")
    return frozenset(done.stdout.split())


def _must(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _git(folder: Path, *arguments: str) -> str:
    """What git says; empty where it fails or is not there."""
    try:
        return _must(folder, *arguments)
    except (OSError, subprocess.CalledProcessError):
        return ""
