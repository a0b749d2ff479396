"""From words to sides: an engine, an oracle, a stored tape, or an engine or oracle of another commit."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.toggles import Toggles
from harness.adapters.devices import chosen, require
from harness.adapters.diverge.engine_side import EngineOp, EngineSide
from harness.adapters.diverge.foreign_side import ForeignSide
from harness.adapters.diverge.op_file import read_npz
from harness.adapters.diverge.oracle_op import OracleOp
from harness.adapters.diverge.oracle_side import OracleSide
from harness.adapters.diverge.script import Rows, SavedOp, Script, Seen, Side
from harness.code_hash import package_folder
from harness.command_engine import PREFIX, read_engine
from harness.errors import BadCall
from harness.tape import Tape, read_tape

ENGINES, ORACLES = ("host", "cuda"), ("ideal", "oracle")
PROGRAM = "import sys; from harness.cli.main import zeroulp; sys.exit(zeroulp(sys.argv[1:]))"
REPLAY = """\
import sys
from pathlib import Path
import numpy
from harness.adapters.diverge.sides import load_op
numpy.save(sys.argv[3], load_op(Path(sys.argv[1]))[0].again(Path(sys.argv[2])))
"""
EXPECTED = (
    "expected ideal, oracle, host or cuda, perhaps with toggles as in host:graph=off,fused=off, "
    "COMMIT@ one of these, command:PATH of an engine.toml, or the file of a stored tape"
)


@dataclass(frozen=True, kw_only=True)
class StoredSide:
    """Implements script.Side over a tape of an earlier run."""

    run: str
    stored: Tape

    def tape(self) -> Tape:
        return self.stored

    def rows(self) -> Rows:
        raise BadCall(f"{self.run}: a stored tape holds hashes, --ulps needs values")

    def look(self, key: str, position: int) -> Seen | None:
        return None


@dataclass(frozen=True, kw_only=True)
class CommitSide:
    """Implements script.Side with the code of a commit, in a process of its own."""

    run: str
    commit: str
    inner: str  # the side there
    model: str
    script: Script
    environment: Mapping[str, str]

    def tape(self) -> Tape:
        with self._recorded() as (file, _):
            return read_tape(file)

    def rows(self) -> Rows:
        raise BadCall(f"{self.run}: another commit gives hashes, --ulps needs values")

    def look(self, key: str, position: int) -> Seen | None:
        with self._recorded("--at", f"{key}@{position}") as (_, op):
            if not op.exists():
                return None
            saved, row = load_op(op)
            return Seen(row=row, op=saved)

    @contextmanager
    def _recorded(self, *more: str) -> Iterator[tuple[Path, Path]]:
        """Check the commit out, let it record a tape; yields its file, and that of the op which `more` may ask for."""
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            tree, file, op, tokens = folder / "tree", folder / "tape.npz", folder / "op.npz", folder / "tokens"
            _check_out(self.commit, tree)
            tokens.write_text(" ".join(str(token) for token in self.script.ids))
            words = ["diverge", self.inner, self.model, "--record", str(file), "--tokens-file", str(tokens)]
            words += ["-n", str(self.script.decoded), *more]
            words += ["--op-file", str(op)] if more else []
            said = _run(tree, PROGRAM, words, self.environment)
            if not file.exists():
                raise BadCall(f"{self.run}: the code of that commit recorded no tape: {said}")
            yield file, op


def replayed(run: str, path: Path, *, cache: Path, environment: Mapping[str, str]) -> NDArray[Any]:
    """The row that the op saved of a side gives now; of a commit by its code, as in the run. Raises BadCall."""
    commit, at, _ = run.rpartition("@")
    if not at:
        return load_op(path)[0].again(cache)
    with tempfile.TemporaryDirectory() as scratch:
        tree, row = Path(scratch) / "tree", Path(scratch) / "row.npy"
        _check_out(commit, tree)
        said = _run(tree, REPLAY, [str(path.resolve()), str(cache), str(row)], environment)
        if not row.exists():
            raise BadCall(f"{run}: the code of that commit did not run the op again: {said}")
        return np.asarray(np.load(row))


def _run(tree: Path, program: str, words: Sequence[str], environment: Mapping[str, str]) -> str:
    """A program with the code of a tree; the last line that it said."""
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=tree, env={**environment, "PYTHONPATH": str(tree)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ((done.stderr + done.stdout).strip().splitlines() or ["it said nothing"])[-1]


def _check_out(commit: str, tree: Path) -> None:
    """The files of a commit of the checkout that this code stands in. Raises BadCall if there is none."""
    root = package_folder("harness").parent
    tree.mkdir()
    archive = subprocess.run(
        ["git", "-C", str(root), "archive", "--format=tar", f"{commit}^{{commit}}"], capture_output=True, check=False
    )
    if archive.returncode:
        raise BadCall(f"commit {commit!r}: not one of {root} ({archive.stderr.decode().strip() or 'git said nothing'})")
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)


def parse_side(
    text: str, script: Script, *, kv: str | None, model: str, cache: Path, environment: Mapping[str, str]
) -> Side:
    """`kv` is the KV type of the other side, which an oracle takes unless it is told. Raises BadCall or BadInput."""
    if text.startswith(PREFIX):
        return ForeignSide(run=text, engine=read_engine(text, environment), script=script)
    commit, at, inner = text.rpartition("@")
    if at:
        _checked(inner)
        return CommitSide(
            run=text, commit=commit, inner=inner, model=model, script=script, environment=environment
        )  # fmt: skip
    name, settings = _checked(text)
    toggles = Toggles.parse(settings)
    if name in ENGINES:
        require(chosen(name))
        return EngineSide(run=text, device=name, toggles=toggles, script=script, cache=cache)
    asked = any(setting.startswith("kv=") for setting in settings)
    if any(not setting.startswith("kv=") for setting in settings) or (asked and name == "ideal"):
        raise BadCall(f"{text}: {name} knows {'only the toggle kv' if name == 'oracle' else 'no toggle'}")
    chosen_kv = toggles.kv if asked or kv is None else kv
    run = text if asked or name == "ideal" else f"{name}:kv={chosen_kv}"
    return OracleSide(run=run, script=script, kv=chosen_kv, ideal=name == "ideal")


def stored_side(text: str) -> StoredSide | None:
    """If the word is the name of a file. Raises BadCall if that is no tape."""
    path = Path(text)
    return StoredSide(run=text, stored=read_tape(path)) if path.is_file() or path.suffix == ".npz" else None


def kv_of(text: str) -> str | None:
    """The KV type that a side settles, if it does."""
    if text.startswith(PREFIX):
        return read_engine(text, {}).spec.kv
    name, settings = _checked(text.rpartition("@")[2])
    asked = any(setting.startswith("kv=") for setting in settings)
    return Toggles.parse(settings).kv if name in ENGINES or asked else None


def _checked(text: str) -> tuple[str, list[str]]:
    name, colon, rest = text.partition(":")
    if name not in (*ENGINES, *ORACLES):
        raise BadCall(f"{text!r}: {EXPECTED}")
    return name, [setting for setting in rest.split(",") if setting] if colon else []


def load_op(path: Path) -> tuple[SavedOp, NDArray[Any]]:
    """A saved op and the row that it gave. Raises BadCall."""
    header, (row, *arrays) = read_npz(path)
    if header["side"] == "oracle":
        calls = tuple(header["calls"])
        return OracleOp(
            form=header["form"], calls=calls, arrays=tuple(arrays), part=header["part"], row=header["row"]
        ), row
    return EngineOp.from_file(header, arrays), row
