"""Plants faults one after the other, several at a time, and keeps each verdict: a campaign that stops can go on."""

from __future__ import annotations

import fnmatch
import math
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.code_hash import PACKAGES, code_hash
from harness.errors import BadCall
from harness.selftest import Missed, Selftest, Tried
from harness.store import write_atomically
from suites.selftest.faults import AREAS, FAULTS
from suites.selftest.planting import ROOT, Fault, Outcome, Verdict, all_checks, faults_on, run_checks, scratch_copy
from suites.selftest.planting import try_fault as plant

PLAN = "selftest-plan.json"
UNPLANTED = "unplanted"  # the checks of all faults with none planted: one that fails anyway would catch everything
WHOLE_TIMEOUT = 1800.0  # seconds for those
ORDER = 20_000  # seeds the order that samples are taken from


class CampaignPlan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """selftest-plan.json."""

    names: tuple[str, ...]
    device: str
    code: str
    seed: int | None
    started: str  # UTC, ISO 8601
    command: str


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One verdict on disk."""

    outcome: Outcome
    by: str
    message: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """Where verdicts are kept, and how many faults are planted at a time. `say` is given one line for each verdict."""

    folder: Path
    workers: int
    environment: Mapping[str, str]  # of the processes that run the checks
    say: Callable[[str], None]

    def run(self, plan: CampaignPlan) -> Selftest:
        """Plant what has no verdict yet, and sum up. KeyboardInterrupt leaves the verdicts that there are."""
        start = time.monotonic()
        faults = [fault for fault in FAULTS if fault.name in plan.names]
        (self.folder / "tried").mkdir(exist_ok=True)
        kept = {name: found for name in (UNPLANTED, *plan.names) if (found := self._kept(name)) is not None}
        missing = [fault for fault in faults if fault.name not in kept]
        pool = ThreadPoolExecutor(self.workers)
        try:
            under_way: dict[Future[Kept], str] = {}
            if UNPLANTED not in kept:
                under_way[pool.submit(self._unplanted, faults, plan.device)] = UNPLANTED
            for fault in missing:
                under_way[pool.submit(self._planted, fault, plan.device)] = fault.name
            for left, future in zip(range(len(under_way) - 1, -1, -1), as_completed(under_way), strict=True):
                name = under_way[future]
                kept[name] = future.result()
                self.say(self._line(name, kept[name], left, time.monotonic() - start, len(under_way)))
        finally:
            pool.shutdown(cancel_futures=True)  # what is under way ends, and is kept
        return summed_up(plan, kept, seconds=time.monotonic() - start)

    def _planted(self, fault: Fault, device: str) -> Kept:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            try:
                verdict = plant(fault, Path(folder), device=device, environment=self.environment)
            except ValueError as error:  # the code has moved on
                verdict = Verdict(outcome="broken", by="", message=str(error))
            return self._keep(fault.name, verdict, time.monotonic() - started)

    def _unplanted(self, faults: Sequence[Fault], device: str) -> Kept:
        with tempfile.TemporaryDirectory() as folder:
            started = time.monotonic()
            tree = scratch_copy(Path(folder))
            checks = all_checks(faults)
            verdict = run_checks(tree, checks, device=device, timeout=WHOLE_TIMEOUT, environment=self.environment)
            return self._keep(UNPLANTED, verdict, time.monotonic() - started)

    def _keep(self, name: str, verdict: Verdict, seconds: float) -> Kept:
        kept = Kept(outcome=verdict.outcome, by=verdict.by, message=verdict.message, seconds=round(seconds, 1))
        write_atomically(self.folder / "tried" / f"{name}.json", msgspec.json.encode(kept))
        return kept

    def _kept(self, name: str) -> Kept | None:
        """None for what was not tried yet, and for a check that showed nothing: that is tried again."""
        with suppress(OSError, msgspec.MsgspecError):
            kept = msgspec.json.decode((self.folder / "tried" / f"{name}.json").read_bytes(), type=Kept)
            return kept if kept.outcome != "broken" else None
        return None

    def _line(self, name: str, kept: Kept, left: int, spent: float, all_: int) -> str:
        remaining = spent / (all_ - left) * left
        ahead = f"{remaining:.0f} s" if remaining < 100 else f"{remaining / 60:.0f} min"
        words = f"[{all_ - left:>{len(str(all_))}}/{all_}] {told(name, kept):8} {kept.seconds:5.1f} s  {name}"
        return f"{words}; about {ahead} left" if left else words


def told(name: str, kept: Kept) -> str:
    """The outcome in a word. With nothing planted, to miss everything is right."""
    return "passed" if name == UNPLANTED and kept.outcome == "missed" else kept.outcome


def summed_up(plan: CampaignPlan, kept: Mapping[str, Kept], *, seconds: float) -> Selftest:
    """What selftest.json holds. Exit code 2 where a check shows nothing or fails unplanted, 1 for a miss, else 0."""
    tried = [(name, kept[name]) for name in plan.names]
    missed = [Missed(name=name, outcome=one.outcome, message=one.message) for name, one in tried]
    missed = [one for one in missed if one.outcome != "caught"]
    clean = kept[UNPLANTED]
    if clean.outcome != "missed":
        missed.insert(0, Missed(name=UNPLANTED, outcome=clean.outcome, message=f"{clean.by} {clean.message}".strip()))
    broken = any(one.outcome == "broken" or one.name == UNPLANTED for one in missed)
    return Selftest(
        faults=tuple(
            Tried(name=name, caught=one.outcome == "caught", by=one.by if one.outcome == "caught" else "")
            for name, one in tried
        ),
        caught=sum(one.outcome == "caught" for _, one in tried),
        planted=len(tried),
        catalogue=len(faults_on(FAULTS, plan.device)),
        missed=tuple(missed),
        device=plan.device,
        code=plan.code,
        seed=plan.seed,
        started=plan.started,
        seconds=round(seconds, 1),
        command=plan.command,
        exit_code=2 if broken else 1 if missed else 0,
    )


def chosen(wanted: Sequence[str], device: str) -> tuple[str, ...]:
    """Names of the faults for a device: all, or those of areas, names and patterns. Raises BadCall for one of none."""
    possible = {fault.name for fault in faults_on(FAULTS, device)}
    area_of = {fault.name: area for area, faults in AREAS.items() for fault in faults}
    found: set[str] = set()
    for text in wanted:
        new = {n for n in possible if text in ("all", area_of[n]) or fnmatch.fnmatchcase(n, text)}
        if not new:
            areas = ", ".join(AREAS)
            raise BadCall(f"--faults {text}: no fault for {device}; expected a name, a pattern, all, or one of {areas}")
        found |= new
    return tuple(fault.name for fault in FAULTS if fault.name in found)


def sample(names: Sequence[str], size: int, seed: int) -> tuple[str, ...]:
    """`size` of them. Seeds one after the other take one part of a shuffled order after the other, and begin again."""
    if size >= len(names):
        return tuple(names)
    shuffled = sorted(names)
    random.Random(ORDER).shuffle(shuffled)
    first = seed % math.ceil(len(names) / size) * size
    part = {shuffled[place % len(shuffled)] for place in range(first, first + size)}
    return tuple(name for name in names if name in part)


def code_here() -> str:
    """The hash of the packages that faults are planted in."""
    return code_hash(PACKAGES, ROOT)


def write_plan(folder: Path, plan: CampaignPlan) -> None:
    write_atomically(folder / PLAN, msgspec.json.format(msgspec.json.encode(plan), indent=2) + b"\n")


def read_plan(folder: Path) -> CampaignPlan:
    """Of a campaign that stopped. Raises BadCall if the folder has none, or the code is another by now."""
    path = folder / PLAN
    try:
        plan = msgspec.json.decode(path.read_bytes(), type=CampaignPlan)
    except OSError as error:
        raise BadCall(f"{path}: not the folder of a selftest ({error.strerror})") from None
    except msgspec.MsgspecError as error:
        raise BadCall(f"{path}: not the plan of a selftest ({error})") from None
    if plan.code != code_here():
        raise BadCall(f"{folder}: was begun on other code ({plan.code}) than this ({code_here()}): start a new one")
    return plan
