"""Running a user's llama-bench on a model and shape of ours, nothing else on the GPU meanwhile."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.adapters.settings import BadInput
from harness.child import ending, stop
from harness.errors import BadCall
from harness.peer import PROGRAM, Entry, Target, cut, not_on_gpu, parse_entries, peer_of, without_figure
from harness.schema import Peer, Phase
from harness.store import utc_now

KV = "f16"
# All layers on one GPU, flash attention, float16 KV cache.
FLAGS = ("-ngl", "99", "-sm", "none", "-mg", "0", "-fa", "1", "-ctk", KV, "-ctv", KV, "-o", "json")
UBATCHES = (512, 2048)  # a long prefill is measured with each and the faster counts: the first is its default
MOST_OUTPUT = 2**24  # bytes that are looked at


@dataclass(frozen=True, kw_only=True)
class LlamaBench:
    """The program and how it is run. `environment` is all it sees of ours."""

    path: Path
    repeats: int
    timeout: float  # seconds for one call
    environment: Mapping[str, str]

    def command(self, model: str, *, prompt: int, generated: int, depth: int, repeats: int) -> list[str]:
        """A call for one test, `prompt` or `generated` being 0, or for one of each at the same depth."""
        test = ("-p", prompt, "-n", generated, "-d", depth, "-r", repeats)
        ubatches = UBATCHES if prompt > UBATCHES[0] else UBATCHES[:1]
        batch = ("-ub", ",".join(str(size) for size in ubatches))
        return [str(self.path), "-m", model, *(str(word) for word in test), *batch, *FLAGS]

    def require_usable(self, model: str) -> None:
        """Run it for one token each way. Raises BadInput if that does not give what a sweep will need."""
        for entry in self._run(self.command(model, prompt=1, generated=1, depth=1, repeats=1), tests=2):
            if why := not_on_gpu(entry):
                raise BadInput(f"{self.path}: {why}, expected a build that uses the GPU")

    def measure(self, target: Target) -> list[Peer]:
        """Prefill and decode from the same positions as our rows of this shape; a failure is a record as well."""
        shape = target.shape
        prefill = self.command(target.path, prompt=shape.prompt, generated=0, depth=shape.depth, repeats=self.repeats)
        decode = self.command(
            target.path, prompt=0, generated=shape.generated, depth=shape.depth + shape.prompt, repeats=self.repeats
        )
        return [self._measured(target, "prefill", prefill), self._measured(target, "decode", decode)]

    def _measured(self, target: Target, phase: Phase, command: list[str]) -> Peer:
        started, shown, source = utc_now(), shlex.join(command), str(self.path)
        try:
            long = phase == "prefill" and target.shape.prompt > UBATCHES[0]
            entries = self._run(command, tests=len(UBATCHES) if long else 1)
            for entry in entries:
                _require_as_asked(entry, target, phase, self.repeats)
        except BadInput as error:
            return without_figure(
                "failed", str(error), source=source, target=target, phase=phase, command=shown, started=started
            )
        best = max(entries, key=lambda entry: statistics.median(entry.samples_ts))
        return peer_of(best, target, source=source, command=shown, started=started)

    def _run(self, command: list[str], *, tests: int) -> tuple[Entry, ...]:
        entries = parse_entries(self._output(command), f"{self.path}")
        if len(entries) != tests:
            raise BadInput(f"{self.path}: {len(entries)} entries of output, expected {tests}")
        return entries

    def _output(self, command: list[str]) -> bytes:
        """What it prints. Raises BadInput with how it ended if it did not end well; never leaves it running."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    env=dict(self.environment),
                    start_new_session=True,
                )
            except OSError as error:
                raise BadInput(f"{self.path}: cannot be run ({error.strerror}), expected {PROGRAM}") from None
            try:
                code = process.wait(timeout=self.timeout)
            except subprocess.TimeoutExpired:
                raise BadInput(f"{self.path}: no answer after {self.timeout:.0f} s") from None
            finally:
                stop(process)
            log.seek(0)
            said = log.read(MOST_OUTPUT).decode(errors="replace")
            if code:
                raise BadInput(f"{self.path}: {_ending(code, said)}")
            out.seek(0)
            return out.read(MOST_OUTPUT)


def require_program(path: Path) -> None:
    """Raises BadCall, one line, if there is nothing to run there."""
    where = f"--peer {PROGRAM}={path}"
    try:
        found = path.stat()
    except OSError as error:
        raise BadCall(f"{where}: cannot be found ({error.strerror})") from None
    if not path.is_file() or not found.st_size:
        raise BadCall(f"{where}: not a program, expected the {PROGRAM} binary")
    if not os.access(path, os.X_OK):
        raise BadCall(f"{where}: not executable; mend it with: chmod +x {shlex.quote(str(path))}")


def _require_as_asked(entry: Entry, target: Target, phase: Phase, repeats: int) -> None:
    """Raises BadInput if the program reports another test than it was asked for."""
    shape = target.shape
    asked = (shape.prompt, 0, shape.depth) if phase == "prefill" else (0, shape.generated, shape.depth + shape.prompt)
    if (entry.n_prompt, entry.n_gen, entry.n_depth) != asked:
        raise BadInput(f"it measured {entry.test}, which is not what it was asked for")
    if (entry.type_k, entry.type_v) != (KV, KV):
        raise BadInput(f"it ran with the KV types {cut(entry.type_k)} and {cut(entry.type_v)}, asked for {KV}")
    if len(entry.samples_ts) != repeats:
        raise BadInput(f"it stored {len(entry.samples_ts)} repeats, asked for {repeats}")
    if why := not_on_gpu(entry):
        raise BadInput(why)


def _ending(code: int, said: str) -> str:
    """How it ended and the line it said that is likest to tell why; an option it does not know means it is old."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    why = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "")
    old = f"; this {PROGRAM} is too old, or another program" if "invalid parameter" in said else ""
    return f"{ending(code)}{f'; {cut(why)}' if why else ''}{old}"
