"""What a sweep owes: its rows with their content keys, and the model files they run on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.adapters import models
from harness.adapters.settings import NUMERICS, BadInput
from harness.code_hash import RESULT_CODE, code_hash
from harness.config import ROW_FIELDS, Config
from harness.environment import device_id
from harness.errors import BadCall
from harness.job import Probe
from harness.matrix import ModelChoice, RowConfig, expand
from harness.progress import SweepProgress
from harness.runner import WORKER
from harness.schema import ModelFacts, PlannedRow, row_key
from harness.where import parse_where
from harness.words import plural


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What was asked for. `environment` is what worker processes see of the process environment."""

    config: Config
    matrix: str  # the text of the configuration
    matrix_path: str
    where: str
    device: str  # "host" | "cuda"
    repeats: int  # 0: as the configuration says
    results: Path
    resume: Path | None
    cache: Path
    command: str
    environment: Mapping[str, str]
    workers: int
    peer: Path | None = None  # a llama-bench binary to run beside the rows
    peer_json: Path | None = None  # or a file of its output
    worker: Sequence[str] = WORKER


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A row that is owed, and what it runs on."""

    row: PlannedRow
    path: str  # of the model file
    refused: str  # why the model cannot be; empty if it can


def selected(sweep: Sweep) -> list[RowConfig]:
    """The rows that the matrix, the device and `--where` leave. Raises BadCall if none is left."""
    rows = expand(sweep.config, sweep.device)
    if not sweep.where:
        return rows
    wanted = parse_where(sweep.where, ROW_FIELDS)
    chosen = [row for row in rows if wanted(row.fields())]
    if not chosen:
        raise BadCall(
            f"--where {sweep.where!r}: none of the {plural(len(rows), 'row')} on device {sweep.device} matches"
        )
    return chosen


def row_id(row: RowConfig, model: ModelFacts, *, repeats: int, device: str, code: str) -> str:
    """Content key: a row is made again exactly when one of these changes."""
    key = row_key(model, row.shape, row.toggles, row.device)
    parts = [key, repeats, device, code, NUMERICS]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def plan_rows(sweep: Sweep, configs: Sequence[RowConfig], probe: Probe, progress: SweepProgress) -> list[Planned]:
    choices = list(dict.fromkeys(config.model for config in configs))
    _announce(sweep, choices, probe, progress)
    files = {choice: _model(choice, sweep.cache, progress) for choice in choices}
    repeats = sweep.repeats or sweep.config.repeats
    device, code = device_id(sweep.device, probe), code_hash(RESULT_CODE)
    planned = []
    for config in configs:
        facts, path, refused = files[config.model]
        row = PlannedRow(
            id=row_id(config, facts, repeats=repeats, device=device, code=code),
            model=facts,
            shape=config.shape,
            toggles=dict(config.toggles),
            device=config.device,
        )
        planned.append(Planned(row=row, path=path, refused=refused))
    return planned


def _announce(sweep: Sweep, choices: Sequence[ModelChoice], probe: Probe, progress: SweepProgress) -> None:
    """Say what the models will take before they do. Raises BadCall if the disk has too little."""
    needed = 0
    for choice in choices:
        if choice.path is not None:
            continue
        try:
            size = models.synthetic_bytes(choice.name, choice.quant)
        except BadInput:
            continue  # refused below, by name
        if not models.synthetic_path(choice.name, choice.quant, choice.seed, sweep.cache).exists():
            needed += size
            progress.say(f"to make: {choice.name} {choice.quant}, {size / 2**20:,.0f} MiB of disk in {sweep.cache}")
        if sweep.device == "cuda" and size > 2**28:
            progress.say(
                f"{choice.name} {choice.quant} takes about {1.1 * size / 2**20:,.0f} MiB of GPU memory"
                f" and its KV cache; {probe.free_bytes / 2**20:,.0f} MiB are free"
            )
    models.require_disk(sweep.cache, needed, "the models to make")


def _model(choice: ModelChoice, cache: Path, progress: SweepProgress) -> tuple[ModelFacts, str, str]:
    """Facts, path, and why there is no such model. An unknown name or type is an error, an impossible pair a status."""
    if choice.path is not None:
        file = models.user_file(choice.path)
        return file.facts, str(file.path), ""
    models.require_known(choice.name, choice.quant)
    try:
        models.synthetic_bytes(choice.name, choice.quant)
    except BadInput as error:
        return ModelFacts(name=choice.name, quant=choice.quant, sha256="", bytes=0), "", str(error)
    file = models.synthetic(choice.name, choice.quant, choice.seed, cache)
    return file.facts, str(file.path), ""
