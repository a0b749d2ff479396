"""An SQLite index over run folders. The JSON lines are the truth: the index is made from them, never the reverse."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.errors import BadCall
from harness.schema import Imported, Peer
from harness.store import IMPORTED, PEERS, PLAN, read_environments, read_imported, read_peers, read_plan
from harness.table import COLUMNS, Cell, run_cells

INDEX_SCHEMA = 2  # of the tables; PRAGMA user_version

_TABLES = f"""
CREATE TABLE runs (run TEXT PRIMARY KEY, folder TEXT, started TEXT, command TEXT, device TEXT, planned INTEGER);
CREATE TABLE environments (id TEXT PRIMARY KEY, json TEXT);
CREATE TABLE rows ({", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())});
CREATE TABLE peers (run TEXT, id TEXT, program TEXT, status TEXT, phase TEXT, sha256 TEXT, tps REAL, build TEXT,
                    json TEXT);
CREATE TABLE imported (run TEXT, id TEXT, program TEXT, name TEXT, unit TEXT, median REAL, machine TEXT, build TEXT,
                       started TEXT, json TEXT);
CREATE TABLE problems (text TEXT);
"""
_INDEXES = (
    "CREATE INDEX rows_key ON rows (key); CREATE INDEX rows_id ON rows (id); CREATE INDEX rows_run ON rows (run);"
)


@dataclass(frozen=True, kw_only=True)
class Indexed:
    path: Path
    runs: int
    rows: int
    imported: int
    problems: tuple[str, ...]  # lines that could not be read, one text each


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Run folders: those given, and those below a folder that is none itself. Raises BadCall where there are none."""
    found: list[Path] = []
    for folder in folders:
        if not folder.is_dir():
            raise BadCall(f"{folder}: no such folder, expected a run folder or a folder of them")
        below = [folder] if _is_run(folder) else sorted(path for path in folder.iterdir() if _is_run(path))
        if not below:
            raise BadCall(f"{folder}: expected a run folder ({PLAN}, or {IMPORTED}) or a folder of them")
        found += below
    runs = list(dict.fromkeys(path.resolve() for path in found))
    names = [path.name for path in runs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadCall(f"two run folders are called {twice}: expected names that tell them apart")
    return runs


def build_index(folders: Sequence[Path], path: Path) -> Indexed:
    """Read all lines of all runs into a new database, which replaces `path` when it is whole."""
    runs = find_runs(folders)
    problems: list[str] = []
    with _new_database(path) as database:
        for run in runs:
            _add_run(database, run, problems)
        database.executemany("INSERT INTO problems VALUES (?)", [(text,) for text in problems])
        database.executescript(_INDEXES)
        rows, imported = (
            database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("rows", "imported")
        )
    return Indexed(path=path, runs=len(runs), rows=rows, imported=imported, problems=tuple(problems))


def _is_run(folder: Path) -> bool:
    return (folder / PLAN).is_file() or (folder / IMPORTED).is_file()


def _add_run(database: sqlite3.Connection, run: Path, problems: list[str]) -> None:
    if (run / PLAN).is_file():
        plan = read_plan(run)
        facts = (run.name, str(run), plan.started, plan.command, plan.device, len(plan.rows))
        database.execute("INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?)", facts)
        made = [(made.id, _json(made)) for made in read_environments(run).values()]
        database.executemany("INSERT OR REPLACE INTO environments VALUES (?, ?)", made)
        places = ", ".join("?" * len(COLUMNS))
        database.executemany(f"INSERT INTO rows VALUES ({places})", run_cells(run, problems))
    peers, bad = read_peers(run / PEERS)
    _insert(database, "peers", [_peer_cells(run.name, peer) for peer in peers])
    imported, worse = read_imported(run / IMPORTED)
    _insert(database, "imported", [_imported_cells(run.name, item) for item in imported])
    problems += [f"{run.name}: {text}" for text in (*bad, *worse)]


def _insert(database: sqlite3.Connection, table: str, rows: Sequence[tuple[Cell, ...]]) -> None:
    if rows:
        database.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)


def _peer_cells(run: str, peer: Peer) -> tuple[Cell, ...]:
    sha256, tps = peer.model.sha256 if peer.model else None, peer.tps.median if peer.tps else None
    return (run, peer.id, peer.program, peer.status, peer.phase, sha256, tps, peer.build, _json(peer))


def _imported_cells(run: str, item: Imported) -> tuple[Cell, ...]:
    figure = (item.name, item.unit, item.median, item.machine, item.build, item.started)
    return (run, item.id, item.program, *figure, _json(item))


@contextmanager
def _new_database(path: Path) -> Iterator[sqlite3.Connection]:
    """Tables in a file beside `path`, which takes its place if nothing goes wrong; readers of the old one keep it."""
    temporary = path.with_name(f".{path.name[:32]}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with closing(sqlite3.connect(temporary)) as database:
            database.execute("PRAGMA synchronous = OFF")  # it can be made again; what is renamed is synced first
            database.executescript(_TABLES)
            database.execute(f"PRAGMA user_version = {INDEX_SCHEMA}")
            with database:
                yield database
            database.execute("PRAGMA synchronous = FULL")
            database.execute("PRAGMA journal_mode = WAL")
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        for old in (path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            old.unlink(missing_ok=True)  # of the database that is replaced
        temporary.replace(path)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BadCall(f"{path}: cannot write the index ({why})") from None
    finally:
        for left in path.parent.glob(f"{temporary.name}*"):
            left.unlink()


def _json(record: msgspec.Struct) -> str:
    return msgspec.json.encode(record).decode()
