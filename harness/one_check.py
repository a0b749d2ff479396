"""A check of a stored run's row, made again by itself."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from harness.adapters import models
from harness.adapters.devices import opened
from harness.adapters.engine import LoadedModel
from harness.adapters.settings import BadInput, canonical_toggles
from harness.check_id import CheckId
from harness.check_names import PAIRS
from harness.config import DEFAULT, Config, parse_config
from harness.errors import BadCall
from harness.matrix import ModelChoice, expand
from harness.proof import flipped
from harness.proven import prove_one, row_tokens
from harness.schema import FOREIGN, Check, Plan, PlannedRow, When
from harness.words import plural


@dataclass(frozen=True, kw_only=True)
class Made:
    """A check that was made again; `where` is the command that finds the op at which its sides part."""

    row: PlannedRow
    check: Check
    where: str


def run_check(plan: Plan, wanted: CheckId, *, cache: Path) -> Made:
    """With the model of the plan. Raises BadCall if the plan has no such row, or its model is another one now."""
    row = find_row(plan, wanted.key)
    if row.device == FOREIGN:
        raise BadCall(f"an engine that is not ours made this row: make it again with: {plan.command}")
    if (wanted.word, wanted.when) not in checks_of(row):
        known = ", ".join(sorted(f"{word}:{when}" for word, when in checks_of(row)))
        raise BadCall(f"check {wanted.word}:{wanted.when}: row {row.key} has none, expected one of {known}")
    path = _model_path(plan, row, cache)
    with opened(row.device, cache) as device, LoadedModel(device, models.open_file(path)) as loaded:
        check = prove_one(loaded, row, wanted.name, wanted.when, cache=cache)
        tokens = row_tokens(row, loaded.model.spec.vocab)
    sides = (_side(row, row.toggles), "oracle")
    if wanted.word in PAIRS:
        sides = (sides[0], _side(row, flipped(row.toggles, wanted.word)))
    words = [
        "zeroulp",
        "diverge",
        *sides,
        str(path),
        "--prompt-length",
        str(len(tokens.prefilled)),
        "-n",
        str(tokens.tail),
    ]
    return Made(row=row, check=check, where=shlex.join(words))


def checks_of(row: PlannedRow) -> tuple[tuple[str, When], ...]:
    """Each as the word of its id and when it is made."""
    both = (*PAIRS, "oracle", *(("verify",) if row.shape.verify else ()))
    deep: tuple[tuple[str, When], ...] = (("depth", "after"),) if row.shape.depth else ()
    return (*((word, when) for word in both for when in get_args(When)), *deep)


def _side(row: PlannedRow, toggles: Mapping[str, str | int]) -> str:
    """A way to run, in the words of `zeroulp diverge`."""
    usual = canonical_toggles({})
    settings = [f"{name}={value}" for name, value in toggles.items() if usual.get(name) != value]
    return ":".join([row.device, ",".join(settings)]) if settings else row.device


def find_row(plan: Plan, key: str) -> PlannedRow:
    """By its key or the beginning of it, or by its id, which rows.jsonl has. Raises BadCall."""
    rows = [row for row in plan.rows if row.key.startswith(key) or row.id == key]
    if len(rows) != 1:
        known = ", ".join(row.key for row in plan.rows[:3])
        raise BadCall(
            f"row {key!r}: {plural(len(rows), 'row')} of the run {'has' if len(rows) == 1 else 'have'} such a key, "
            f"expected one, such as {known}"
        )
    return rows[0]


def _model_path(plan: Plan, row: PlannedRow, cache: Path) -> Path:
    if not plan.matrix:
        raise BadCall("the plan of this run holds no matrix: it does not say where its models come from")
    origin = Path(plan.matrix_path) if plan.matrix_path else Path(DEFAULT.name)
    for choice in _choices(parse_config(plan.matrix, origin), row.device):
        if (choice.name, choice.quant) != (row.model.name, row.model.quant):
            continue
        file = models.user_file(choice.path) if choice.path is not None else _made(choice, cache)
        if file.facts.sha256 != row.model.sha256:
            found, stored = file.facts.sha256[:12], row.model.sha256[:12]
            raise BadCall(
                f"{row.model.name} {row.model.quant} is another model now: sha256 {found}, the run's {stored}"
            )
        return file.path
    raise BadCall(f"model {row.model.name} {row.model.quant}: not in the run's matrix")


def _choices(config: Config, device: str) -> Mapping[ModelChoice, None]:
    return dict.fromkeys(row.model for row in expand(config, device))


def _made(choice: ModelChoice, cache: Path) -> models.ModelFile:
    try:
        return models.synthetic(choice.name, choice.quant, choice.seed, cache)
    except BadInput as error:
        raise BadCall(str(error)) from None
