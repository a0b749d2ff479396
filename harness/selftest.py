"""What `zeroulp selftest` finds: which planted faults the suites catch. selftest.json is one Selftest."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import msgspec

from harness.code_hash import PACKAGES, code_hash
from harness.errors import BadCall
from harness.gate.schema import SelftestScore
from harness.store import encode_record, read_record, write_atomically

SELFTEST = "selftest.json"


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: `by` is the assertion that failed, empty if it was missed."""

    name: str
    caught: bool
    by: str = ""


class Missed(msgspec.Struct, frozen=True, kw_only=True):
    """`outcome` is "missed" (every check passed), "crashed" (it ended, by no assertion) or "broken" (nothing shown)."""

    name: str
    outcome: str
    message: str = ""


class Selftest(msgspec.Struct, frozen=True, kw_only=True):
    """All but `faults` may be lacking: the score needs no more."""

    faults: tuple[Tried, ...]
    caught: int = 0
    planted: int = 0
    catalogue: int = 0  # faults that there are for the device: more than `planted` after a sample
    missed: tuple[Missed, ...] = ()
    device: str = ""
    code: str = ""  # hash of the packages that the faults were planted in
    seed: int | None = None  # of a sample
    started: str = ""  # UTC, ISO 8601
    seconds: float = 0.0
    command: str = ""
    exit_code: int = 0

    @property
    def whole(self) -> bool:
        """Whether every fault of the catalogue was planted."""
        return 0 < self.planted == self.catalogue

    def score(self) -> SelftestScore:
        """What was caught; nothing if a check fails with nothing planted, for such a check catches everything."""
        names = {fault.name for fault in self.faults}
        unplanted = tuple(one.name for one in self.missed if one.name not in names)
        missed = tuple(fault.name for fault in self.faults if not fault.caught)
        caught = 0 if unplanted else len(names) - len(missed)
        return SelftestScore(
            caught=caught,
            planted=len(self.faults),
            catalogue=self.catalogue,
            missed=(*unplanted, *missed),
            code=self.code,
        )


def read_selftest(path: Path) -> Selftest:
    """What `zeroulp selftest --json` printed. Raises BadCall for a file that cannot be read."""
    return read_record(
        path,
        msgspec.json.Decoder(Selftest).decode,
        absent="cannot read",
        unfit="not what `zeroulp selftest --json` prints",
    )


def encode(found: Selftest) -> bytes:
    """The bytes of selftest.json."""
    return encode_record(found)


def keep(found: Selftest, cache: Path) -> None:
    """Leave the score of the whole catalogue where a gate of the same code finds it."""
    place = _place(cache, found.code, found.device)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(place, encode(found))


def score_of(tree: Path, device: str, cache: Path) -> SelftestScore | None:
    """What is kept of exactly the code in `tree`; None where that was never tested whole on this device."""
    with suppress(BadCall):  # there is none, or what a crash of the machine left of one
        return read_selftest(_place(cache, code_hash(PACKAGES, tree), device)).score()
    return None


def of_other_code(score: SelftestScore, tree: Path) -> str:
    """A note if a score says that it was made on other code than that in `tree`, else empty."""
    if not score.code or score.code == code_hash(PACKAGES, tree):
        return ""
    return f"the selftest score is of other code ({score.code}) than head's"


def _place(cache: Path, code: str, device: str) -> Path:
    return cache / "selftest" / f"{code}-{device}.json"
