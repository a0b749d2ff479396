"""An engine that is not ours: a command that takes tokens and writes logits, as docs/your-engine.md describes it."""

from __future__ import annotations

import math
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.child import ending, run_to_end
from harness.errors import BadCall
from harness.quality import first_not_finite
from harness.schema import Status

PREFIX = "command:"
LOGITS, SPEEDS = "logits.npy", "rows.jsonl"
NOT_PROVIDED = "not provided by this engine"
LONGEST = 160  # characters of what it said in an error

Provides = Literal["logits", "one_by_one", "speed"]
Mode = Literal["at_once", "one_by_one"]
NEEDED: Mapping[Provides, tuple[str, ...]] = {
    "logits": ("{model}", "{tokens}", "{out}"),
    "one_by_one": ("{mode}",),
    "speed": ("{generated}", "{repeats}"),
}


class CommandFailed(BadCall):
    """It gave no answer that can be used: a row's status, and one line."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status: Status = status


class LogitBound(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the logits are compared with. All bounds that are given must hold; with none, bits."""

    against: Literal["ideal", "exact"] = "ideal"
    nmse: float | None = None  # sum (left - right)^2 / sum right^2
    kl: float | None = None  # mean over the positions, nats
    ulps: int | None = None  # of float32, every logit

    @property
    def by_bits(self) -> bool:
        return self.nmse is None and self.kl is None and self.ulps is None


class CommandSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """engine.toml."""

    name: str
    command: tuple[str, ...]
    provides: tuple[Provides, ...] = ("logits",)
    kv: Literal["f32", "f16"] = "f32"  # its KV cache: the exact form is asked with the same
    timeout_s: float = 600.0
    bound: LogitBound = LogitBound(nmse=1e-6)
    one_by_one: Literal["bits", "bound"] = "bits"  # how its two ways must agree


@dataclass(frozen=True, kw_only=True)
class CommandEngine:
    """A command, and where it is run. `environment` is all it sees of ours."""

    spec: CommandSpec
    folder: Path
    environment: Mapping[str, str]


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """A line of rows.jsonl; further fields are the engine's own."""

    phase: Literal["prefill", "decode"]
    tokens: int  # computed in one repeat
    tokens_per_second: tuple[float, ...]  # of each repeat


@dataclass(frozen=True, kw_only=True)
class Answer:
    logits: NDArray[np.float32]  # (tokens, vocab), finite
    speeds: tuple[Speed, ...]
    seconds: float


def read_engine(text: str, environment: Mapping[str, str]) -> CommandEngine:
    """Of `command:PATH`: an engine.toml, or a program that is called with model, tokens and output folder."""
    name = text.removeprefix(PREFIX)
    path = Path(name).expanduser().absolute()
    if not name:
        raise BadCall(f"{text!r} names nothing, expected {PREFIX}PATH of an engine.toml or a program")
    if not path.is_file():
        raise BadCall(f"{path}: not found, expected an engine.toml or a program")
    if path.suffix != ".toml":
        if not os.access(path, os.X_OK):
            raise BadCall(f"{path}: not executable, expected a program or an engine.toml")
        spec = CommandSpec(name=path.stem, command=(str(path), *NEEDED["logits"]))
        return CommandEngine(spec=spec, folder=Path.cwd(), environment=environment)
    try:
        spec = msgspec.toml.decode(path.read_bytes(), type=CommandSpec)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"{path}: {error}") from None
    _require_sound(path, spec)
    return CommandEngine(spec=spec, folder=path.parent, environment=environment)


def _require_sound(path: Path, spec: CommandSpec) -> None:
    if not spec.name.strip() or not spec.command or "logits" not in spec.provides:
        raise BadCall(f'{path}: expected a name, a command, and provides with at least "logits"')
    for what in spec.provides:
        for placeholder in NEEDED[what]:
            if not any(placeholder in word for word in spec.command):
                raise BadCall(f"{path}: provides {what}, so the command must have {placeholder} in it")
    bounds = (spec.bound.nmse, spec.bound.kl, spec.bound.ulps)
    if not all(bound is None or 0 <= bound < math.inf for bound in bounds) or not 0 < spec.timeout_s < math.inf:
        raise BadCall(f"{path}: bounds and timeout_s must be finite and not negative")
    if spec.bound.against == "ideal" and spec.bound.by_bits:
        raise BadCall(f"{path}: ideal is float64 and has no bits in common with an engine: give nmse, kl or ulps")


def ask(
    engine: CommandEngine,
    model: Path,
    tokens: Sequence[int] | NDArray[np.int64],
    vocab: int,
    *,
    mode: Mode = "at_once",
    generated: int = 0,
    repeats: int = 0,
) -> Answer:
    """Run the command once. Raises CommandFailed with a status and one line for whatever it does not give."""
    spec, start = engine.spec, time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        folder, log = Path(scratch) / "out", Path(scratch) / "log"
        folder.mkdir()
        listed = Path(scratch) / "tokens"
        listed.write_text(" ".join(str(int(token)) for token in tokens) + "\n")
        values = {
            "python": sys.executable, "model": str(model.absolute()), "tokens": str(listed), "out": str(folder),
            "mode": mode, "generated": str(generated), "repeats": str(repeats),
        }  # fmt: skip
        command = [_filled(word, values) for word in spec.command]
        try:
            code = run_to_end(
                command, folder=engine.folder, environment=engine.environment, timeout=spec.timeout_s, log=log
            )
        except OSError as error:
            raise CommandFailed("error", f"{spec.name}: {command[0]} cannot be run ({error.strerror})") from None
        if code is None:
            raise CommandFailed("hung", f"{spec.name}: no answer after {spec.timeout_s:g} s")
        if code:
            raise CommandFailed("crashed", f"{spec.name}: {ending(code)}{_last_words(log)}")
        logits = _read_logits(spec.name, folder / LOGITS, len(tokens), vocab)
        speeds = _read_speeds(spec.name, folder / SPEEDS, repeats) if repeats else ()
    return Answer(logits=logits, speeds=speeds, seconds=time.perf_counter() - start)


def _filled(word: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"; {lines[-1][:LONGEST]}" if lines else ""


def _read_logits(name: str, path: Path, tokens: int, vocab: int) -> NDArray[np.float32]:
    expected = f"expected float32 ({tokens}, {vocab})"
    try:
        found = np.lib.format.open_memmap(path, mode="r")  # a file shorter than its header says is refused
    except FileNotFoundError:
        raise CommandFailed("error", f"{name}: wrote no {LOGITS}, {expected}") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = " ".join(str(error).split())[:LONGEST]
        raise CommandFailed("error", f"{name}: {LOGITS} is not a whole .npy file ({reason})") from None
    if (found.dtype, found.shape) != (np.dtype(np.float32), (tokens, vocab)):
        raise CommandFailed("error", f"{name}: {LOGITS} is {found.dtype} {found.shape}, {expected}")
    logits = np.array(found, np.float32, order="C")
    if bad := first_not_finite(logits):
        raise CommandFailed("error", f"{name}: {LOGITS} holds {bad}")
    return logits


def _read_speeds(name: str, path: Path, repeats: int) -> tuple[Speed, ...]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        raise CommandFailed("error", f"{name}: provides speed, but wrote no {SPEEDS}") from None
    speeds = []
    for number, line in enumerate(lines, start=1):
        try:
            speed = msgspec.json.decode(line, type=Speed)
        except msgspec.MsgspecError as error:
            raise CommandFailed("error", f"{name}: {SPEEDS} line {number}: {error}") from None
        if len(speed.tokens_per_second) != repeats or not all(0 < x < math.inf for x in speed.tokens_per_second):
            raise CommandFailed("error", f"{name}: {SPEEDS} line {number}: expected {repeats} speeds above 0")
        speeds.append(speed)
    if len({speed.phase for speed in speeds}) != len(speeds):
        raise CommandFailed("error", f"{name}: {SPEEDS} has a phase twice")
    return tuple(speeds)
