"""A run folder: plan.json, environment.json and append-only rows.jsonl and peers.jsonl. They are the truth."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from harness.errors import BadCall
from harness.schema import Environment, Imported, Peer, Plan, PlannedRow, Row
from harness.upgrade import decode
from harness.words import plural

PLAN, ENVIRONMENT = "plan.json", "environment.json"
ROWS, PEERS, IMPORTED = "rows.jsonl", "peers.jsonl", "imported.jsonl"
ENVIRONMENTS = "environments.jsonl"  # of a merged run, whose rows come from several machines

T = TypeVar("T", Plan, Environment)
Whole = TypeVar("Whole", bound=msgspec.Struct)
Line = TypeVar("Line", Row, Peer, Imported, Environment)


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """A run as it lies on disk. `rows` holds the row of each id that counts, in the order of the plan."""

    folder: Path
    plan: Plan
    environment: Environment
    rows: tuple[Row, ...]
    missing: tuple[PlannedRow, ...]  # planned, but without a row
    problems: tuple[str, ...]  # lines that could not be read, one text each
    peers: tuple[Peer, ...] = ()  # the last of each id


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def new_run_folder(results: Path) -> Path:
    """Make `results/<UTC time>-<short id>/`. Raises BadCall where that is not possible."""
    folder = results / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    require_folder(results, "results folder")
    folder.mkdir()
    return folder


def require_folder(folder: Path, what: str) -> None:
    """Make a folder and see that a file can be made in it. Raises BadCall naming `what` it is."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadCall(f"{what} {folder}: cannot write to it ({error.strerror})") from None


def write_atomically(path: Path, data: bytes) -> None:
    """Write the whole file or leave what was there: a temporary file beside it, fsync, rename."""
    # Not the whole name, which may be as long as the system allows.
    temporary = path.with_name(f".{path.name[:32]}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the name itself may be what is wrong
            temporary.unlink()
        raise BadCall(f"{path}: cannot write ({error.strerror})") from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def encode_record(record: msgspec.Struct) -> bytes:
    """A file that holds one record, to be read by people, too."""
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def write_record(path: Path, record: msgspec.Struct) -> None:
    write_atomically(path, encode_record(record))


def read_record(path: Path, decode: Callable[[bytes], Whole], *, absent: str, unfit: str) -> Whole:
    """A file that holds one record. Raises BadCall: `absent` says what it means that it cannot be read, `unfit` that it
    cannot be decoded."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise BadCall(f"{path}: {absent} ({error.strerror})") from None
    except msgspec.MsgspecError as error:
        raise BadCall(f"{path}: {unfit} ({error})") from None


class LineWriter:
    """Appends records; each is on disk when `append` returns. A torn last line of a killed run is closed off first.

    One writer at a time: a second, in whichever process, is refused until the first is closed or its process ends.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("ab")
        except OSError as error:
            raise BadCall(f"{path}: cannot write ({error.strerror})") from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise BadCall(f"{path}: another process is writing to it; expected one writer at a time") from None
        if not _ends_a_line(path):
            self._file.write(b"\n")

    def append(self, record: Row | Peer | Imported) -> None:
        self._file.write(msgspec.json.encode(record) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class RowWriter(LineWriter):
    """Of a run folder's rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / ROWS)


def append_peers(folder: Path, peers: Iterable[Peer]) -> None:
    """Add lines to a run folder's peers.jsonl, which is there only if there are some."""
    for peer in peers:
        writer = LineWriter(folder / PEERS)
        writer.append(peer)
        writer.close()


def read_run(folder: Path) -> StoredRun:
    """Read a run folder. Raises BadCall if it is none; a torn or foreign row line is a problem, not an error."""
    plan = read_plan(folder)
    environment = read_environment(folder)
    found, problems = read_rows(folder / ROWS)
    rows = _last_of_each(found)
    peers, bad_peers = read_peers(folder / PEERS)
    problems += bad_peers
    owed = {row.id: row for row in plan.rows}
    foreign = len(rows.keys() - owed.keys())
    others = [name for name in rows.keys() & owed.keys() if not _stands_for(rows[name], owed[name])]
    rows = {name: row for name, row in rows.items() if name not in others}
    if others:
        problems.append(
            f"{plural(len(others), 'row is', 'rows are')} of another model, shape, toggles or device "
            "than planned: not shown"
        )
    if foreign:
        problems.append(
            f"{plural(foreign, 'row was', 'rows were')} made with other code or another matrix "
            "than the plan's: not shown"
        )
    elsewhere = sum(row.environment != environment.id for row in rows.values())
    if elsewhere:
        problems.append(f"{plural(elsewhere, 'row was', 'rows were')} made in another environment than the one shown")
    return StoredRun(
        folder=folder,
        plan=plan,
        environment=environment,
        rows=tuple(rows[row.id] for row in plan.rows if row.id in rows),
        missing=tuple(row for row in plan.rows if row.id not in rows),
        problems=tuple(problems),
        peers=peers,
    )


def _last_of_each(rows: Iterable[Row]) -> dict[str, Row]:
    """The row that counts of each id: the last, as of a run that was resumed, but no row replaces a parity failure."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.id not in found or found[row.id].status != "parity_failed":
            found[row.id] = row
    return found


def _stands_for(row: Row, planned: PlannedRow) -> bool:
    """Whether a row computes what was planned under its id."""
    facts = [(one.model.sha256, one.shape, one.toggles, one.device) for one in (row, planned)]
    return facts[0] == facts[1]


def read_plan(folder: Path) -> Plan:
    """Of a run folder. Raises BadCall if it has none."""
    return _of_a_run(folder / PLAN, Plan)


def read_environment(folder: Path) -> Environment:
    """Of a run folder. Raises BadCall if it has none."""
    return _of_a_run(folder / ENVIRONMENT, Environment)


def read_rows(path: Path) -> tuple[list[Row], list[str]]:
    """All rows of a rows.jsonl in the order written, and one text for each line that is not a row."""
    return _read_lines(path, Row)


def read_peers(path: Path) -> tuple[tuple[Peer, ...], list[str]]:
    """The last of each id of a peers.jsonl, in the order first met, and one text for each line that is no peer."""
    found, problems = _read_lines(path, Peer)
    return tuple({peer.id: peer for peer in found}.values()), problems


def read_imported(path: Path) -> tuple[list[Imported], list[str]]:
    """All records of an imported.jsonl, and one text for each line that is none."""
    return _read_lines(path, Imported)


def read_environments(folder: Path) -> dict[str, Environment]:
    """Of a run folder by id: its own, and those that a merge brought. Raises BadCall if it has none."""
    own = read_environment(folder)
    others, _ = _read_lines(folder / ENVIRONMENTS, Environment)
    return {made.id: made for made in (*others, own)}


def lines(path: Path, kind: type[Line]) -> Iterator[Line | str]:
    """The records of a file one by one in the order written; a line that is none gives one text that says so."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line == b"\n":
                continue
            try:
                yield decode(line, kind)
            except msgspec.MsgspecError as error:
                torn = not line.endswith(b"\n")
                yield f"{path.name} line {number}: {'torn, skipped' if torn else f'skipped ({error})'}"


def _read_lines(path: Path, kind: type[Line]) -> tuple[list[Line], list[str]]:
    records: list[Line] = []
    problems: list[str] = []
    for item in lines(path, kind):
        if isinstance(item, str):
            problems.append(item)
        else:
            records.append(item)
    return records, problems


def _of_a_run(path: Path, kind: type[T]) -> T:
    unfit = f"not a {kind.__name__.lower()} that can be read"
    return read_record(path, lambda data: decode(data, kind), absent="not a run folder", unfit=unfit)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
