"""What the oracle answered is kept for the very values that it was asked about, and for no others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.device import Buffer, Device
from engine.session import Session
from engine.toggles import Toggles
from harness.adapters import sampled, vouched
from harness.adapters.sampled import OpByOp, sampled_parity
from harness.adapters.shown import Shown
from harness.adapters.vouched import Kept, Vouched
from harness.compare import joined
from reference.spec.model import Model
from suites.harness.test_sampled import Held
from suites.models import Models

PROMPT = np.arange(5, 25)
DECODED = [7, 300]
IDS = np.concatenate([PROMPT, DECODED])


@pytest.fixture
def model(models: Models) -> Model:
    return models.tiny("Q8_0")


@pytest.fixture
def session(device: Device, model: Model) -> Iterator[Session]:
    toggles = Toggles.from_mapping({"graph": "off", "chunk": len(PROMPT), "kv": "f16"})
    opened = Session(device, model, context=len(IDS), toggles=toggles)
    yield opened
    opened.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever the oracle looks at values."""
    found: list[str] = []

    class Counted(OpByOp):
        def __init__(self, model: Model, *, context: int, kv: str) -> None:
            found.append(kv)
            super().__init__(model, context=context, kv=kv)

    monkeypatch.setattr(sampled, "OpByOp", Counted)
    return found


def logits_of(session: Session) -> NDArray[np.float32]:
    session.reset()
    rows = [session.prefill(PROMPT, all_logits=True), *(session.decode(token)[None] for token in DECODED)]
    return np.concatenate(rows)


def test_the_oracle_is_asked_once_by_all_processes(
    session: Session, model: Model, tmp_path: Path, asked: list[str]
) -> None:
    logits = logits_of(session)
    first, said = sampled_parity(session, model, PROMPT, DECODED, logits, Kept(cache=tmp_path, sha256="m"))
    again, then = sampled_parity(session, model, PROMPT, DECODED, logits, Kept(cache=tmp_path, sha256="m"))
    assert first == again
    assert first.same
    assert then == f"{said}; it was asked about these values before"
    assert asked == ["f16"]


def test_logits_are_compared_though_the_ops_are_known(session: Session, model: Model, tmp_path: Path) -> None:
    kept, logits = Kept(cache=tmp_path, sha256="m"), logits_of(session)
    assert sampled_parity(session, model, PROMPT, DECODED, logits, kept)[0].same
    logits[-1, 5] = np.nextafter(logits[-1, 5], np.float32(np.inf))
    found, _ = sampled_parity(session, model, PROMPT, DECODED, logits, kept)
    assert (found.differing, found.worst_ulp) == (1, 1)
    assert found.first_difference.startswith("logits of the row against those of the checked ops: [2, 5]: ")


def test_what_the_oracle_refused_is_not_kept(
    session: Session, model: Model, tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = logits_of(session)
    monkeypatch.setattr(sampled, "joined", lambda parts: replace(joined(parts), differing=1))
    for _ in range(2):
        found, _ = sampled_parity(session, model, PROMPT, DECODED, logits, Kept(cache=tmp_path, sha256="m"))
        assert not found.same
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("name", "layer", "element"),
    [("embedding", -1, (15, 3)), ("q", 1, (19, 0)), ("k_rope", 0, (7, 5)), ("v", 2, (8, 0)), ("logits", -1, (0, 511))],
)
def test_one_bit_of_what_the_oracle_looks_at_is_another_question(
    name: str, layer: int, element: tuple[int, int]
) -> None:
    """Of keys and values that is every row: rows 7 and 8 are no edges of a tile."""

    def digest(*, spoiled: bool) -> str:
        shown = Shown(layers=3)
        shown.begin(PROMPT, position=0)
        values = np.linspace(-1, 1, len(PROMPT) * 512, dtype=np.float32).reshape(len(PROMPT), 512)
        if spoiled:
            values[element] = np.nextafter(values[element], np.float32(np.inf))
        shown.tap(name, layer, cast(Buffer, Held(values)))
        return shown.digest

    assert digest(spoiled=False) == digest(spoiled=False)
    assert digest(spoiled=False) != digest(spoiled=True)


def test_an_answer_is_of_one_model_token_list_cache_type_and_oracle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept(cache=tmp_path, sha256="m")
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    assert kept.read("d", IDS, "f16") == Vouched(ops=3, values=12)
    assert Kept(cache=tmp_path, sha256="n").read("d", IDS, "f16") is None
    assert kept.read("e", IDS, "f16") is None
    assert kept.read("d", IDS[::-1], "f16") is None
    assert kept.read("d", IDS, "f32") is None
    monkeypatch.setattr(vouched, "code_hash", lambda paths: "other code")
    assert kept.read("d", IDS, "f16") is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"{", b""), (b"}", b""), (b',"values":12', b""), (b'"values":12', b'"values":"12"'),
        (b'"values":12', b'"values":0'), (b'"values":12', b'"values":-1'), (b'"ops":3', b'"ops":0'), (b".json", b""),
    ],
)  # fmt: skip
def test_what_is_left_of_a_file_is_no_answer(tmp_path: Path, old: bytes, new: bytes) -> None:
    kept = Kept(cache=tmp_path, sha256="m")
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    (path,) = (tmp_path / "vouched").iterdir()
    whole = path.read_bytes()
    assert old in whole
    path.write_bytes(whole.replace(old, new))
    assert kept.read("d", IDS, "f16") is None


def test_a_file_under_the_name_of_another_is_no_answer(tmp_path: Path) -> None:
    """As a copy or a rename of the cache leaves it: what was vouched for is in the file, too."""
    kept = Kept(cache=tmp_path, sha256="m")
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    (first,) = (tmp_path / "vouched").iterdir()
    kept.write("e", IDS, "f16", Vouched(ops=3, values=11))
    (second,) = (path for path in (tmp_path / "vouched").iterdir() if path != first)
    second.write_bytes(first.read_bytes())
    assert kept.read("d", IDS, "f16") == Vouched(ops=3, values=12)
    assert kept.read("e", IDS, "f16") is None


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "vouched").write_text("a file, not a folder")
    kept = Kept(cache=tmp_path, sha256="m")
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    assert kept.read("d", IDS, "f16") is None


def test_a_file_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    """The folder is there, and what takes the file's place stays."""
    kept = Kept(cache=tmp_path, sha256="m")
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    (path,) = (tmp_path / "vouched").iterdir()
    path.unlink()
    path.mkdir()
    kept.write("d", IDS, "f16", Vouched(ops=3, values=12))
    assert kept.read("d", IDS, "f16") is None
    assert list((tmp_path / "vouched").iterdir()) == [path]
