"""A finished gate judged again from the processes it kept, by other rules or another accept file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from harness.errors import BadCall
from harness.gate.arms import SIDES, Build, Side, Source
from harness.gate.plan import read_plan
from harness.gate.processes import Bench
from harness.gate.run import Arms, Settings, run_gate
from harness.gate.schema import GateResult, read_gate
from harness.rules import CAREFUL
from harness.runner import Finished, Pool, Started, Task

RESULT = "gate.json"


def kept_gate(sources: Mapping[Side, Source]) -> Path | None:
    """The folder of a gate whose two sides are named; None if neither is one. Raises BadCall for anything between."""
    folders = {source.gate for source in sources.values()}
    if folders == {None}:
        return None
    [folder, *others] = folders
    if folder is None or others or any(Path(sources[side].spec).name != side for side in SIDES):
        named = next(source.spec for source in sources.values() if source.gate is not None)
        raise BadCall(f"{named}: is a side of a gate, expected FOLDER/base and FOLDER/head of the same gate")
    return folder


def judge_again(folder: Path, settings: Settings, command: str, *, cache: Path) -> GateResult:
    """The times of its processes were paired, so they are judged; what was not kept is broken. Nothing is measured."""
    plan, before = msgspec.structs.replace(read_plan(folder), command=command), read_gate(folder / RESULT)
    builds: dict[Side, Build] = {
        "base": Build(arm=before.base, command=()),
        "head": Build(arm=before.head, command=()),
    }
    bench = Bench(
        folder=folder,
        builds=builds,
        cache=cache,
        rules=CAREFUL,
        timeout=plan.timeout,
        environment={},
        say=lambda _: None,
        runner=_not_kept,
        finished=True,
    )
    arms = Arms(builds=builds, stored={})
    result = run_gate(plan, bench, arms, settings)
    return msgspec.structs.replace(result, notes=(f"judged again from the processes of {folder.name}", *result.notes))


def _not_kept(tasks: Iterable[Task], pool: Pool) -> Iterator[Started | Finished]:
    for task in tasks:
        yield Finished(key=task.key, ending="died", answer=b"", reason="it was not kept", seconds=0.0)
