"""Arms: what a name stands for, and that the build that is measured is the one that was named."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from engine.devices.cuda.nvrtc import nvrtc_version
from harness.adapters.settings import canonical_toggles
from harness.code_hash import TREE, code_hash
from harness.errors import BadCall
from harness.gate.arms import Build, Side, Source, build_arms, remove_worktrees, resolve, uncommitted
from harness.gate.environments import Needs, shared, unsatisfied
from harness.gate.gpus import choose, visible_gpus
from harness.gate.schema import Arm
from reference.spec.errors import NoDevice
from suites.harness.gate_fakes import planned
from suites.selftest.planting import ROOT, scratch_copy
from suites.selftest.wheels import write_wheel
from suites.status import not_applicable

ASK = (
    "import json; from harness.environment import version; from harness.code_hash import TREE, code_hash;"
    "import engine, sys; print(json.dumps([version(), code_hash(TREE), engine.__file__, *sys.path]))"
)


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits, tagged one and two; the second changes the harness, not the engine."""
    folder = scratch_copy(tmp_path_factory.mktemp("repository"))
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "one")
    git(folder, "tag", "one")
    with (folder / "harness" / "errors.py").open("a") as file:
        file.write("\n# two\n")
    git(folder, "commit", "--quiet", "--all", "-m", "two")
    git(folder, "tag", "two")
    return folder


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build would make of the first commit, but for its version."""
    tree = tmp_path_factory.mktemp("unpacked")
    archive = subprocess.run(["git", "-C", str(repository), "archive", "one"], capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    project = tree / "pyproject.toml"
    project.write_text(re.sub(r'^version = ".*"$', 'version = "0.0.9"', project.read_text(), flags=re.MULTILINE))
    return write_wheel(tree, tmp_path_factory.mktemp("wheel"))


def says(build: Build, *, cwd: Path) -> list[str]:
    """What the interpreter of an arm imports, called from a folder and with a PYTHONPATH that hold another build."""
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(
        [*build.command[:-2], "-c", ASK], capture_output=True, text=True, check=True, cwd=cwd, env=environment
    )
    found: list[str] = json.loads(done.stdout)
    return found


def test_two_commits_are_two_builds_whatever_lies_around(repository: Path, tmp_path: Path) -> None:
    sources: dict[Side, Source] = {"base": resolve("one", repository), "head": resolve("two", repository)}
    builds = build_arms(sources, tmp_path, sharing="auto", device="host")
    for side, build in builds.items():
        version, tree, engine, *path = says(build, cwd=repository)
        assert str(ROOT) not in path  # of a package that the arm lacks there is none
        assert (version, tree) == (build.arm.version, build.arm.tree)
        assert Path(engine).is_relative_to(tmp_path / side / "tree")
        assert build.arm.git_sha == git(repository, "rev-parse", "one" if side == "base" else "two")
    assert all(build.toggles == frozenset(canonical_toggles({})) for build in builds.values())
    assert builds["base"].arm.tree != builds["head"].arm.tree
    assert builds["base"].arm.engine == builds["head"].arm.engine == code_hash(("engine",), tmp_path / "base" / "tree")
    assert (tmp_path / "base" / "tree" / ".git").exists()
    remove_worktrees(sources, tmp_path)
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_tree_that_was_touched_is_checked_out_again(repository: Path, tmp_path: Path) -> None:
    sources: dict[Side, Source] = {"head": resolve("two", repository)}
    first = build_arms(sources, tmp_path, sharing="auto", device="host")["head"]
    (tmp_path / "head" / "tree" / "engine" / "session.py").write_text("")
    assert build_arms(sources, tmp_path, sharing="auto", device="host")["head"] == first
    shutil.rmtree(tmp_path / "head")
    assert build_arms(sources, tmp_path, sharing="auto", device="host")["head"] == first
    remove_worktrees(sources, tmp_path)


def test_a_wheel_is_measured_as_it_is(repository: Path, wheel: Path, tmp_path: Path) -> None:
    build = build_arms({"head": resolve(str(wheel), tmp_path)}, tmp_path, sharing="auto", device="host")["head"]
    version, tree, engine, *_ = says(build, cwd=repository)
    assert (version, tree) == ("0.0.9", build.arm.tree)
    assert Path(engine).is_relative_to(tmp_path)
    assert (build.arm.kind, build.arm.git_sha) == ("wheel", "")


def test_a_shared_environment_finds_the_compiler_of_this_one(wheel: Path, tmp_path: Path) -> None:
    try:
        here = nvrtc_version()
    except NoDevice:
        not_applicable("NVRTC is not installed here")
    build = build_arms({"head": resolve(str(wheel), tmp_path)}, tmp_path, sharing="shared", device="host")["head"]
    ask = "from engine.devices.cuda.nvrtc import nvrtc_version; print(nvrtc_version())"
    done = subprocess.run([*build.command[:-2], "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here


def test_a_wheel_that_is_written_here_can_be_installed(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        lines = archive.read("zeroulp-0.0.9.dist-info/RECORD").decode().splitlines()
        assert sorted(line.rpartition(",sha256=")[0] or line.partition(",")[0] for line in lines) == sorted(
            archive.namelist()
        )
        for name, digest in (line.rsplit(",", 1)[0].split(",sha256=") for line in lines if ",sha256=" in line):
            found = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).decode().rstrip("=")
            assert found == digest


def test_a_build_is_not_asked_for_a_toggle_that_it_does_not_know_yet() -> None:
    build = Build(arm=Arm(spec="x", kind="commit"), command=(), toggles=frozenset(("kv", "chunk")))
    defaults = canonical_toggles({})
    row = msgspec.structs.replace(planned(24), toggles={"graph": defaults["graph"], "kv": "f32"})
    assert build.asked(row).toggles == {"kv": "f32"}
    assert build.asked(row).id == row.id
    other = "off" if defaults["graph"] == "on" else "on"
    changed = msgspec.structs.replace(row, toggles={"graph": other, "kv": "f32"})
    assert build.asked(changed) == changed  # it has to refuse: the row asks for what it cannot do
    assert replace(build, toggles=None).asked(row) == row


def test_a_build_that_cannot_be_imported_is_one_line(repository: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(repository), str(tmp_path / "clone")], check=True)
    with (tmp_path / "clone" / "engine" / "toggles.py").open("a") as file:
        file.write("\nraise RuntimeError('broken')\n")
    git(tmp_path / "clone", "commit", "--quiet", "--all", "-m", "broken")
    source = resolve("HEAD", tmp_path / "clone")
    with pytest.raises(BadCall, match=r"HEAD: cannot be imported \(RuntimeError: broken\)"):
        build_arms({"head": source}, tmp_path / "out", sharing="auto", device="host")


def test_a_build_knows_another() -> None:
    build = Build(arm=Arm(spec="x", kind="commit", git_sha="c", tree="t"), command=())
    assert build.foreign(tree="t", git_commit="c") == ""
    assert "source tree u, expected t" in build.foreign(tree="u", git_commit="c")
    assert "source tree unknown" in build.foreign(tree="", git_commit="c")
    assert "commit d, expected c" in build.foreign(tree="t", git_commit="d")
    wheel = Build(arm=Arm(spec="x.whl", kind="wheel", tree="t"), command=())
    assert wheel.foreign(tree="t", git_commit="") == ""


@pytest.mark.parametrize("spec", ["nowhere", "--help", "one..two", "HEAD~99", "", "one:pyproject.toml"])
def test_what_is_no_arm_is_one_line(repository: Path, spec: str) -> None:
    with pytest.raises(BadCall, match="neither a commit of"):
        resolve(spec, repository)


def test_other_bad_arms(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(BadCall, match="no such wheel"):
        resolve("x.whl", repository)
    (tmp_path / "gate").mkdir()
    (tmp_path / "gate" / "gate-plan.json").touch()
    with pytest.raises(BadCall, match="gate: is the folder of a gate; it is judged again as gate/base gate/head"):
        resolve("gate", tmp_path)
    with pytest.raises(BadCall, match="this is no git checkout"):
        resolve("HEAD", tmp_path)
    (tmp_path / "x.whl").write_text("no zip")
    with pytest.raises(BadCall, match="cannot be unpacked"):
        build_arms({"head": resolve("x.whl", tmp_path)}, tmp_path, sharing="auto", device="host")


def test_a_commit_that_is_no_zeroulp_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a").write_text("a")
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "-m", "a")
    with pytest.raises(BadCall, match="HEAD: is no zeroulp, it has no package engine, harness, reference"):
        build_arms({"head": resolve("HEAD", tmp_path)}, tmp_path / "out", sharing="auto", device="host")


def test_uncommitted_changes_are_seen(repository: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "clone", "--quiet", str(repository), str(tmp_path / "clone")], check=True)
    source = resolve("HEAD", tmp_path / "clone")
    assert not uncommitted(source)
    (tmp_path / "clone" / "pyproject.toml").write_text("changed")
    assert uncommitted(source)
    assert not uncommitted(replace(source, repository=None))


def test_the_hash_of_a_folder_is_that_of_the_same_installed(tmp_path: Path) -> None:
    assert code_hash(TREE, scratch_copy(tmp_path)) == code_hash(TREE)
    with (tmp_path / "engine" / "kernels" / "add.cu").open("a") as file:
        file.write("\n")
    assert code_hash(TREE, tmp_path) != code_hash(TREE)


HAS = Needs(version="1", requirements=("numpy>=1",), pins=("numpy==2.0",))
LACKS = Needs(version="1", requirements=("numpy>=99",))


def test_libraries_are_shared_only_where_that_changes_nothing() -> None:
    other = replace(HAS, pins=("numpy==2.1",))
    assert shared([HAS, HAS], sharing="auto", device="host")
    assert not shared([HAS, other], sharing="auto", device="host")
    assert shared([HAS, other], sharing="shared", device="host")
    assert shared([HAS, replace(HAS, pins=())], sharing="auto", device="host")
    assert not shared([HAS, replace(HAS, requirements=("numpy>=1.1",))], sharing="auto", device="host")
    assert not shared([HAS, HAS], sharing="own", device="host")
    assert not shared([HAS, LACKS], sharing="auto", device="host")
    with pytest.raises(BadCall, match="lacks numpy>=99"):
        shared([HAS, LACKS], sharing="shared", device="host")


def test_one_cuda_extra_is_enough_and_none_is_too_little() -> None:
    arm = Needs(version="1", requirements=('numpy>=1; extra == "cuda12"', 'numpy>=99; extra == "cuda13"'))
    assert unsatisfied(arm, "cuda") == []
    assert unsatisfied(replace(arm, requirements=arm.requirements[1:] + LACKS.requirements), "host") == ["numpy>=99"]
    both = Needs(version="1", requirements=('numpy>=98; extra == "cuda12"', 'numpy>=99; extra == "cuda13"'))
    assert len(unsatisfied(both, "cuda")) == 1


@pytest.fixture
def four_gpus(tmp_path: Path) -> Callable[..., tuple[str, ...]]:
    """Asks for the visible ones where nvidia-smi knows GPU-a to GPU-d."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\nprintf 'GPU-a1\\nGPU-b2\\nGPU-b3\\nGPU-d4\\n'\n")
    tool.chmod(0o755)

    def visible(named: str | None = None) -> tuple[str, ...]:
        environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
        return visible_gpus(environment if named is None else {**environment, "CUDA_VISIBLE_DEVICES": named})

    return visible


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, ("GPU-a1", "GPU-b2", "GPU-b3", "GPU-d4")),
        ("2,0", ("GPU-b3", "GPU-a1")),
        ("GPU-d", ("GPU-d4",)),
        ("1,9,0", ("GPU-b2",)),
        ("", ()),
        ("-1", ()),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(
    four_gpus: Callable[..., tuple[str, ...]], named: str | None, expected: tuple[str, ...]
) -> None:
    assert four_gpus(named) == expected


def test_the_gpu_is_chosen_by_uuid() -> None:
    gpus = ("GPU-aa-11", "GPU-bb-22")
    assert choose(gpus, "") == "GPU-aa-11"
    assert choose(gpus, "bb22") == "GPU-bb-22"
    with pytest.raises(BadCall, match="--gpu GPU-cc: expected one of GPU-aa-11, GPU-bb-22"):
        choose(gpus, "GPU-cc")
    with pytest.raises(BadCall, match="no GPU is visible"):
        choose((), "")
