"""From a configuration to the rows it asks for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.adapters.models import file_quant
from harness.adapters.settings import canonical_toggles
from harness.config import ROW_FIELDS, SHAPE_FIELDS, Config, Group, Value, is_path
from harness.errors import BadCall
from harness.schema import Shape
from harness.where import parse_where


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model to run: made by name, type and seed, or a file."""

    name: str  # of a file, its stem
    quant: str
    seed: int
    path: Path | None  # None: to be made


@dataclass(frozen=True, kw_only=True)
class RowConfig:
    model: ModelChoice
    shape: Shape
    toggles: Mapping[str, Value]  # all of them, defaults filled in
    device: str

    def fields(self) -> dict[str, Value]:
        """What `--where` and `exclude` see."""
        shape = {name: int(getattr(self.shape, name)) for name in SHAPE_FIELDS}
        return {"model": self.model.name, "quant": self.model.quant, "device": self.device, **shape, **self.toggles}


def expand(config: Config, device: str) -> list[RowConfig]:
    """The rows of a configuration on one device, exclusions applied, in an order that keeps a model's rows together.

    Raises BadCall if there is none, or if a target has no row on any device.
    """
    every = [row for group in config.groups for name in group.devices for row in _group_rows(group, name)]
    for target in config.targets:
        wanted = parse_where(target.where, ROW_FIELDS)
        if not any(wanted(row.fields()) for row in every):
            raise BadCall(f"target {target.name!r}: none of the {len(every)} rows of the matrix has {target.where}")
    rows = [row for row in every if row.device == device]
    # The model itself is part of the key: a seed or a path may be all that tells two rows apart.
    unique = {(row.model, repr(sorted(row.fields().items()))): row for row in rows}
    if not unique:
        raise BadCall(f"the matrix has no row for device {device}")
    return list(unique.values())


def _group_rows(group: Group, device: str) -> Iterable[RowConfig]:
    for model in _models(group):
        for shape in group.shapes:
            for values in itertools.product(*group.toggles.values()):
                toggles = canonical_toggles(dict(zip(group.toggles, values, strict=True)))
                row = RowConfig(model=model, shape=shape, toggles=toggles, device=device)
                if not any(_matches(row.fields(), exclusion) for exclusion in group.exclude):
                    yield row


def _models(group: Group) -> Iterable[ModelChoice]:
    for name in group.models:
        if is_path(name):
            yield ModelChoice(name=Path(name).stem, quant=file_quant(Path(name)), seed=0, path=Path(name))
        else:
            for quant in group.quants:
                yield ModelChoice(name=name, quant=quant, seed=group.seed, path=None)


def _matches(fields: Mapping[str, Value], exclusion: Mapping[str, tuple[Value, ...]]) -> bool:
    return all(fields[name] in values for name, values in exclusion.items())
