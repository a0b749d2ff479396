"""Logits that the oracle has vouched for op by op, remembered for other rows: the same bits are checked once.

Only agreement is kept, by everything that decides it: model, tokens, settings, the logits themselves and all code that
computes or compares them. Other bits, or other code, are checked anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from harness.adapters.protocol import Logits, Tokens
from harness.code_hash import RESULT_CODE, code_hash
from harness.compare import Comparison
from harness.locks import locked
from harness.store import write_atomically


class Vouched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was found the same."""

    values: int
    extent: str  # what was compared, in words


def vouched(
    cache: Path,
    *,
    sha256: str,
    device: str,
    settings: Mapping[str, str | int],
    tokens: Tokens,
    decoded: Sequence[int],
    logits: Logits,
    check: Callable[[], tuple[Comparison, str]],
) -> tuple[Comparison, str]:
    """What `check` finds, or found before, perhaps in another process, for these logits; the words say which."""
    digest = hashlib.blake2b(logits.tobytes(), digest_size=16).hexdigest()
    ids, tail = [int(token) for token in tokens], [int(token) for token in decoded]
    facts = [sha256, device, sorted(settings.items()), ids, tail, logits.shape, digest, code_hash(RESULT_CODE)]
    name = hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).hexdigest()
    path = cache / "oracle" / f"{name}.json"
    with locked(path):
        kept = _read(path)
        if kept is not None:
            same = Comparison(values=kept.values, differing=0, worst_ulp=0, first_difference="")
            return same, f"{kept.extent}, as found before for these logits"
        found, extent = check()
        if found.same:
            write_atomically(path, msgspec.json.encode(Vouched(values=found.values, extent=extent)))
        return found, extent


def _read(path: Path) -> Vouched | None:
    """None if there is no such file, or what is left of one after a crash of the machine."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(path.read_bytes(), type=Vouched)
    return None
