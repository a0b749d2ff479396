"""Figures of other programs' files, kept beside ours: pytest-benchmark's JSON and what llama-bench prints as JSON."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import BadCall
from harness.measure import spread
from harness.peer import Entry, parse_entries
from harness.schema import Imported
from harness.store import IMPORTED, LineWriter, read_imported, require_folder

Fact = str | int | float | bool | None
STATS = ("mean", "stddev", "iqr", "iterations")


class _Stats(msgspec.Struct, frozen=True):
    """Seconds."""

    min: float
    max: float
    median: float
    rounds: int
    data: tuple[float, ...] = ()
    mean: float | None = None
    stddev: float | None = None
    iqr: float | None = None
    iterations: int | None = None


class _Benchmark(msgspec.Struct, frozen=True):
    fullname: str
    stats: _Stats
    group: str | None = None
    extra_info: dict[str, Any] = {}


class _File(msgspec.Struct, frozen=True):
    """What pytest-benchmark writes with --benchmark-json, as far as it is kept."""

    benchmarks: tuple[_Benchmark, ...]
    machine_info: dict[str, Any]
    commit_info: dict[str, Any] = {}
    datetime: str = ""


@dataclass(frozen=True, kw_only=True)
class Added:
    new: int
    known: int  # were there already


def read_file(path: Path) -> list[Imported]:
    """The figures of a file of either program. Raises BadCall or BadInput naming the file and what is wrong."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadCall(f"{path}: cannot read ({error.strerror})") from None
    try:
        content = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadCall(f"{path}: no JSON ({error}), expected that of pytest-benchmark or llama-bench") from None
    if isinstance(content, Mapping) and "benchmarks" in content:
        return _pytest_benchmark(content, path)
    return [_llama_bench(entry, path.name) for entry in parse_entries(data, str(path))]


def add(records: list[Imported], folder: Path) -> Added:
    """Append those that `folder` does not have to its imported.jsonl."""
    require_folder(folder, "folder")
    known = {record.id for record in read_imported(folder / IMPORTED)[0]}
    new = {record.id: record for record in records if record.id not in known}
    if new:
        writer = LineWriter(folder / IMPORTED)
        for record in new.values():
            writer.append(record)
        writer.close()
    return Added(new=len(new), known=len(records) - len(new))


def _pytest_benchmark(content: object, path: Path) -> list[Imported]:
    try:
        file = msgspec.convert(content, _File)
    except msgspec.ValidationError as error:
        raise BadCall(f"{path}: not what pytest-benchmark writes ({error})") from None
    if not file.benchmarks:
        raise BadCall(f"{path}: no benchmarks in it, expected at least one")
    commit, dirty = str(file.commit_info.get("id") or ""), bool(file.commit_info.get("dirty"))
    return [
        _with_id(
            Imported(
                id="",
                program="pytest-benchmark",
                source=path.name,
                name=item.fullname,
                group=item.group or "",
                unit="s",
                median=item.stats.median,
                min=item.stats.min,
                max=item.stats.max,
                count=item.stats.rounds,
                samples=item.stats.data,
                machine=str(file.machine_info.get("node", "")),
                build=f"{commit} (dirty)" if dirty else commit,
                started=file.datetime,
                facts={**{name: getattr(item.stats, name) for name in STATS}, **_facts(item.extra_info)},
            )
        )
        for item in file.benchmarks
    ]


def _facts(extra: Mapping[str, Any]) -> dict[str, Fact]:
    """What a benchmark said besides; what is no plain value is kept as JSON text."""
    plain = (str, int, float, bool, type(None))
    return {
        name: value if isinstance(value, plain) else msgspec.json.encode(value).decode()
        for name, value in extra.items()
    }


def _llama_bench(entry: Entry, source: str) -> Imported:
    found = spread(entry.samples_ts)
    return _with_id(
        Imported(
            id="",
            program="llama-bench",
            source=source,
            name=f"{entry.model_type}, {entry.test}",
            group=entry.phase or "both",
            unit="tokens/s",
            median=found.median,
            min=found.min,
            max=found.max,
            count=len(found.samples),
            samples=found.samples,
            machine=entry.gpu_info,
            build=f"{entry.build_commit} ({entry.build_number})",
            facts={
                "model_filename": entry.model_filename,
                "backends": entry.backends,
                "n_batch": entry.n_batch,
                "n_ubatch": entry.n_ubatch,
                "n_gpu_layers": entry.n_gpu_layers,
                "flash_attn": entry.flash_attn,
                "type_k": entry.type_k,
                "type_v": entry.type_v,
            },
        )
    )


def _with_id(record: Imported) -> Imported:
    digest = hashlib.blake2b(msgspec.json.encode(record), digest_size=8).hexdigest()
    return msgspec.structs.replace(record, id=digest)
