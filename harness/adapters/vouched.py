"""What the oracle found of a session's values, kept by a digest of them: the next process need not wait for it.

The oracle is a function of the values that it is shown, so that its answer to the same ones is the same. Only "not a
bit differs" is kept: what was refused is looked at again.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.code_hash import code_hash
from harness.errors import BadCall
from harness.store import write_atomically

CODE = ("reference", "harness/adapters/sampled.py", "harness/adapters/shown.py", "harness/compare.py")


Compared = Annotated[int, msgspec.Meta(ge=1)]


class Vouched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was compared without a difference."""

    ops: Compared
    values: Compared


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file. `of` is its name, so that one that was copied or renamed answers no other question."""

    of: str
    vouched: Vouched


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Answers for one model file (by its sha256) in a cache folder."""

    cache: Path
    sha256: str

    def read(self, digest: str, tokens: NDArray[np.int64], kv: str) -> Vouched | None:
        """None if this oracle was not asked about these values yet."""
        path = self._path(digest, tokens, kv)
        with suppress(OSError, msgspec.MsgspecError):
            answer = msgspec.json.decode(path.read_bytes(), type=_Answer)
            return answer.vouched if answer.of == path.name else None
        return None

    def write(self, digest: str, tokens: NDArray[np.int64], kv: str, vouched: Vouched) -> None:
        """A cache that cannot be written costs time, not correctness, so that is no error."""
        path = self._path(digest, tokens, kv)
        with suppress(OSError, BadCall):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, msgspec.json.encode(_Answer(of=path.name, vouched=vouched)))

    def _path(self, digest: str, tokens: NDArray[np.int64], kv: str) -> Path:
        key = json.dumps([self.sha256, tokens.tolist(), kv, digest, code_hash(CODE)])
        return self.cache / "vouched" / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"
