"""One fresh process at a time, its answer checked and kept: a gate that is called again runs what is not there yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from harness.gate.arms import Build, Side
from harness.job import ProcessJob
from harness.rules import Rules
from harness.runner import Finished, Pool, Started, Task, run
from harness.schema import Ceiling, PlannedRow, ProcessAnswer, Record
from harness.store import write_atomically
from harness.words import plural

Stage = Literal["pairs", "confirm", "recheck"]
PROCESSES = "processes"  # the folder of what they answered
ENDINGS = ".ended"  # why a process had no answer, a line for each time
MOST_NAMED = 3  # processes that ran again, in one line
Runner = Callable[[Iterable[Task], Pool], Iterator[Started | Finished]]


def interrupted(folder: Path, command: str) -> str:
    """What there is in `folder` when a command that measures by processes is stopped, and how it goes on."""
    kept = plural(len(list((folder / PROCESSES).glob("*.json"))), "process is", "processes are")
    return f"interrupted: {kept} kept; go on with: zeroulp {command} --resume {folder}"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One process: rows of one model in one arm."""

    stage: Stage
    side: Side
    group: int  # number of the model
    pair: int
    rows: tuple[PlannedRow, ...]
    model_path: str
    gpu: str  # UUID; empty on the host device

    @property
    def name(self) -> str:
        return f"{self.stage}-{self.group:03}-{self.pair:02}-{self.side}"

    @property
    def seed(self) -> int:
        """The same for both arms of a pair: what the order of rows does to them cancels out."""
        return (("pairs", "confirm", "recheck").index(self.stage) * 1000 + self.group) * 1000 + self.pair


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a process ended. Without an answer `reason` says why."""

    step: Step
    answer: ProcessAnswer | None
    reason: str = ""


class Kept(Record, frozen=True, kw_only=True):
    """A finished process on disk, and what it must match to stand for a step again."""

    name: str
    tree: str
    gpu: str
    rows: tuple[str, ...]  # keys
    answer: ProcessAnswer


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where processes run. `environment` is what they see of the process environment."""

    folder: Path
    builds: Mapping[Side, Build]
    cache: Path
    rules: Rules
    timeout: float  # seconds for one row
    environment: Mapping[str, str]
    say: Callable[[str], None]
    runner: Runner = run
    ceilings: tuple[Ceiling, ...] = ()
    spent: list[float] = field(default_factory=list)  # seconds of each process that ran
    heard: dict[Side, ProcessAnswer] = field(default_factory=dict)  # the first answer of each arm
    again: dict[str, str] = field(default_factory=dict)  # processes that had run before, and why that did not stand
    finished: bool = False  # the folder is that of a finished gate: what ends badly is not noted in it

    @property
    def ran_again(self) -> tuple[str, ...]:
        """One line if a process ran before without an answer that stands, else none."""
        if not self.again:
            return ()
        first = [f"{name} ({why})" for name, why in list(self.again.items())[:MOST_NAMED]]
        more = f" and {len(self.again) - MOST_NAMED} more" if len(self.again) > MOST_NAMED else ""
        words = plural(len(self.again), "process was run again, its first run", "processes were run again, their first")
        return (f"{words} did not stand: {', '.join(first)}{more}",)

    def measure(self, step: Step, *, left: int) -> Outcome:
        """Run a step, or take what is kept of it. `left` processes are still to come at least, this one included."""
        kept = self._kept(step)
        if kept is None and self._file(step, ".json").exists():
            self._note(step, "what was kept of it cannot be read, or is of other rows or another build")
        before = self._endings(step)
        if before:
            self.again[step.name] = "; then ".join(before)
        if kept is not None:
            self.heard.setdefault(step.side, kept.answer)
            return Outcome(step=step, answer=kept.answer)
        if before:
            self.say(f"{step.name} runs again: {before[-1]}")
        event = self._run(step)
        self.spent.append(event.seconds)
        outcome = self._checked(step, event)
        if outcome.answer is not None:
            self.heard.setdefault(step.side, outcome.answer)
            self._keep(step, outcome.answer)
        else:
            self._note(step, outcome.reason)
        self.say(self._line(outcome, event.seconds, left - 1))
        return outcome

    def _run(self, step: Step) -> Finished:
        build = self.builds[step.side]
        job = ProcessJob(
            rows=tuple(build.asked(row) for row in step.rows),
            model_path=step.model_path,
            cache=str(self.cache),
            seed=step.seed,
            rules=self.rules,
            canaries=bool(step.gpu) and step.stage != "recheck",
            ceilings=self.ceilings,
            answer=str(self._file(step, ".answer")),
        )
        gpu = {"CUDA_VISIBLE_DEVICES": step.gpu} if step.gpu else {}
        pool = Pool(
            workers=1,
            timeout=self.timeout * len(step.rows),
            environment={**self.environment, **gpu},
            command=build.command,
        )
        self._file(step, "").parent.mkdir(parents=True, exist_ok=True)
        for event in self.runner([Task(key=step.name, job=job, log=self._file(step, ".log"))], pool):
            if isinstance(event, Finished):
                return event
        raise RuntimeError(f"{step.name}: the runner told no end")

    def _checked(self, step: Step, event: Finished) -> Outcome:
        if event.ending != "answered":
            how = "died" if event.ending == "died" else "hung"
            return Outcome(step=step, answer=None, reason=f"the process of {step.side} {how}: {event.reason}")
        try:
            answer = msgspec.json.decode(event.answer, type=ProcessAnswer)
        except msgspec.MsgspecError as error:
            return Outcome(step=step, answer=None, reason=f"the answer of {step.side} cannot be read ({error})")
        reason = self._foreign(step, answer)
        return Outcome(step=step, answer=None if reason else answer, reason=reason)

    def _foreign(self, step: Step, answer: ProcessAnswer) -> str:
        """Why an answer is of another build or GPU than the step's; empty if it is not."""
        reason = self.builds[step.side].foreign(tree=answer.tree, git_commit=answer.git_commit)
        if not reason and step.gpu and plain_uuid(answer.gpu.uuid if answer.gpu else "") != plain_uuid(step.gpu):
            return f"measured on GPU {answer.gpu.uuid if answer.gpu else 'none'}, asked for {step.gpu}"
        return reason

    def _kept(self, step: Step) -> Kept | None:
        with suppress(OSError, msgspec.MsgspecError):
            kept = msgspec.json.decode(self._file(step, ".json").read_bytes(), type=Kept)
            if kept == self._record(step, kept.answer) and not self._foreign(step, kept.answer):
                return kept
        return None

    def _keep(self, step: Step, answer: ProcessAnswer) -> None:
        write_atomically(self._file(step, ".json"), msgspec.json.encode(self._record(step, answer)))

    def _note(self, step: Step, ending: str) -> None:
        """Why a process has no answer that stands: a gate that is resumed runs it again, and has to say so."""
        if not self.finished:
            lines = (*self._endings(step), " ".join(ending.split()))
            write_atomically(self._file(step, ENDINGS), "".join(f"{line}\n" for line in lines).encode(errors="replace"))

    def _endings(self, step: Step) -> tuple[str, ...]:
        """Of this process so far, oldest first."""
        path = self._file(step, ENDINGS)
        return tuple(path.read_text(errors="replace").splitlines()) if path.is_file() else ()

    def _record(self, step: Step, answer: ProcessAnswer) -> Kept:
        keys = tuple(row.key for row in step.rows)
        return Kept(name=step.name, tree=self.builds[step.side].arm.tree, gpu=step.gpu, rows=keys, answer=answer)

    def _file(self, step: Step, ending: str) -> Path:
        return self.folder / PROCESSES / f"{step.name}{ending}"

    def _line(self, outcome: Outcome, seconds: float, left: int) -> str:
        step = outcome.step
        model = step.rows[0].model
        rows = plural(len(step.rows), "row")
        what = {"pairs": f"pair {step.pair + 1}", "confirm": f"confirmation {step.pair + 1}", "recheck": "check again"}
        spent = f" ({parts})" if (parts := _spent(outcome.answer)) else ""
        line = f"{what[step.stage]:<16} {step.side} {model.name} {model.quant}, {rows}  {seconds:.1f} s{spent}"
        if outcome.reason:
            return f"{line}: {outcome.reason}"
        return f"{line}; {self._remaining(left)}" if left > 0 else line

    def _remaining(self, left: int) -> str:
        seconds = left * sum(self.spent) / len(self.spent)
        text = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
        return f"at least {left} more, about {text}"


def _spent(answer: ProcessAnswer | None) -> str:
    """What the seconds of a process went into, in words; empty if it does not say."""
    parts: Counter[str] = Counter()
    for part in (answer.spent, *(row.spent for row in answer.rows)) if answer else ():
        parts.update(part)
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())


def plain_uuid(uuid: str) -> str:
    """A UUID as tools print it, or as the driver's bytes in hexadecimal."""
    return uuid.lower().removeprefix("gpu-").replace("-", "")
